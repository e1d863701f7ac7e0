//! [`ManagementGuard`]: the callers that may manage keys, and the keys of each.

use std::{convert::Infallible, fmt, net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{FromRequestParts, Request, State},
    middleware::{Next, from_fn_with_state, map_request},
    response::{IntoResponse, Response},
    routing::{MethodRouter, Route},
};
use http::request::Parts;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    fields::Id,
    parameters::{Asked, NoFilters, Outside},
    requirement::{ManagementScopes, Rules},
};
use crate::{
    auth::{
        ApiKeyLayer, AuthenticatedKey,
        authenticated::{self, Absence},
    },
    key::{KeyId, KeyRecord, OwnerId, RejectionKind, Scopes},
    manage::{KeyManager, NewKey, OwnerBounds},
    rejection::{GrpcDenials, Rejection},
    request::RequestHead,
};

/// Guards a [`management_router`](crate::axum::management_router): decides which callers may use it,
/// and whose keys each of them manages.
#[must_use]
pub struct ManagementGuard {
    identify: Arc<Identify>,
    rules: Rules,
    /// The outermost first.
    layers: Vec<Box<Around>>,
    parameters: Outside,
}

type Identify = dyn Fn(&RequestHead<'_>) -> Result<ManagementCaller, Box<Response>> + Send + Sync;
type Around = dyn FnOnce(Router) -> Router + Send + Sync;

impl ManagementGuard {
    /// Lets callers of this layer manage the keys of all owners, as administrators.
    ///
    /// Give it a layer of its own, such as one over a
    /// [`FixedStore`](crate::store::FixedStore) with a header of its own: with the layer of the
    /// keys that are managed, every holder of a key would be an administrator. Where some of
    /// those keys are meant to be, say which, with [`with_layer`](Self::with_layer).
    ///
    /// In the audit log, the actor is the id and the name of the administrator's key, and the
    /// address is what [`with_client_address`](ApiKeyLayer::with_client_address) tells.
    pub fn keys(layer: ApiKeyLayer) -> Self {
        Self::by_key(layer, |_| Ok(ManagementCaller::administrator()))
    }

    /// Lets callers of this layer manage the keys of their key's owner, within the
    /// [bounds](crate::manage::OwnerBounds) of the key that they send. A key without an owner
    /// manages nothing: it is denied as [`InactiveOwner`](RejectionKind::InactiveOwner).
    ///
    /// Any key of an owner opens this owner's keys if it has the scope `keys:read` to look at them
    /// and `keys:write` to change them; [`requiring`](Self::requiring) names others. Without them,
    /// a key can be used to look at itself and to revoke itself. To ask for more than that, such as
    /// that the owner is active, see [`with_layer`](Self::with_layer).
    ///
    /// The keys must be those of the router's manager: a key that its repository does not have
    /// makes no others.
    pub fn owner(layer: ApiKeyLayer) -> Self {
        Self::by_key(layer, |key| match key.owner() {
            Some(owner) => {
                let caller =
                    ManagementCaller::owner(owner.clone(), key.scopes().clone()).bounded_by(key);
                Ok(ManagementCaller { key: Some(key.record().clone()), ..caller })
            }
            None => Err(Rejection::new(RejectionKind::InactiveOwner).with_key(key.id())),
        })
    }

    /// The scopes that keys need which manage others, instead of `keys:read` and `keys:write`.
    /// `None`: any key of an owner manages them, as far as its bounds go.
    ///
    /// They are asked of the keys of [`ManagementGuard::owner`](Self::owner). Behind any guard, an
    /// owner gives them to no key, unless it is [`delegating`](Self::delegating).
    ///
    /// ```
    /// use tower_api_key::{
    ///     KeyManager,
    ///     axum::{ManagementGuard, ManagementScopes},
    ///     store::MemoryStore,
    /// };
    ///
    /// let keys = KeyManager::new(MemoryStore::new());
    /// let scopes = ManagementScopes { read: "admin:read".parse()?, write: "admin:keys".parse()? };
    /// let guard = ManagementGuard::owner(keys.layer()).requiring(Some(scopes));
    /// # let _ = guard;
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    pub fn requiring(mut self, scopes: Option<ManagementScopes>) -> Self {
        self.rules.management = scopes;
        self
    }

    /// Owners may give keys the scopes that manage others, where they have them.
    ///
    /// A key that leaked can then make others that manage keys, which go on when it is revoked:
    /// revoke it together with its [descendants](KeyManager::revoke_with_descendants).
    pub const fn delegating(mut self) -> Self {
        self.rules.delegates = true;
        self
    }

    /// Refuses to create a key for an owner where it would spend credits, instead of having it share
    /// the balance.
    pub const fn refusing_shared_credits(mut self) -> Self {
        self.rules.shares_credits = false;
        self
    }

    /// Has the application identify the caller: for users that have logged in and have a session, or
    /// for administrators behind a proxy that knows them.
    ///
    /// `identify` sees every request before its body is read, and returns its caller, or the
    /// response to it, such as a [`Rejection`]. It cannot wait: a layer outside does that, and
    /// leaves its finding in the request's extensions.
    ///
    /// ```
    /// use tower_api_key::{
    ///     NewKey, Rejection, RejectionKind, Scopes,
    ///     axum::{ManagementCaller, ManagementGuard},
    /// };
    ///
    /// /// The session that the application's layer attaches.
    /// #[derive(Clone)]
    /// struct Session {
    ///     user: String,
    /// }
    ///
    /// let scopes = Scopes::parse(["orders:*"])?;
    /// let guard = ManagementGuard::custom(move |request| match request.extensions.get::<Session>() {
    ///     Some(session) => {
    ///         let user = &session.user;
    ///         // The same for every user.
    ///         let tier = Some("basic".to_owned());
    ///         let template = NewKey { tier, ..NewKey::default() };
    ///         let caller = ManagementCaller::owner(user.as_str(), scopes.clone()).with_template(template);
    ///         Ok(caller.acting_as(user))
    ///     }
    ///     None => Err(Rejection::new(RejectionKind::Missing)),
    /// });
    /// # let _ = guard;
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    ///
    /// Where a browser sends the session along by itself, in a cookie, other sites can have it
    /// send requests: protect these routes against that like the application's others, with a
    /// layer outside or [`with_layer`](Self::with_layer). The same goes for keys in cookies.
    pub fn custom<R: IntoResponse>(
        identify: impl Fn(&RequestHead<'_>) -> Result<ManagementCaller, R> + Send + Sync + 'static,
    ) -> Self {
        let identify = move |request: &RequestHead<'_>| {
            identify(request).map_err(|answer| Box::new(answer.into_response()))
        };
        Self::new(identify)
    }

    /// Takes every caller for an administrator. Right only where no other caller can send a
    /// request, such as behind a layer or a proxy that does the guarding.
    pub fn insecure_unguarded() -> Self {
        Self::custom(|_| Ok::<_, Infallible>(ManagementCaller::administrator()))
    }

    /// Another layer to go through, inside those that are there already: a
    /// [`RequireScopesLayer`](crate::RequireScopesLayer), or an
    /// [`OwnerLayer`](crate::OwnerLayer) that refuses owners who are not active.
    ///
    /// ```
    /// use tower_api_key::{
    ///     KeyManager, RequireScopesLayer, axum::ManagementGuard, store::MemoryStore,
    /// };
    ///
    /// let keys = KeyManager::new(MemoryStore::new());
    /// let guard = ManagementGuard::owner(keys.layer()).with_layer(RequireScopesLayer::all(["keys:manage"])?);
    /// # let _ = guard;
    /// # Ok::<(), tower_api_key::scope::InvalidScope>(())
    /// ```
    pub fn with_layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Route> + Clone + Send + Sync + 'static,
        L::Service: Service<Request> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request>>::Response: IntoResponse + 'static,
        <L::Service as Service<Request>>::Error: Into<Infallible> + 'static,
        <L::Service as Service<Request>>::Future: Send + 'static,
    {
        self.layers.push(Box::new(move |routes| routes.layer(layer)));
        self
    }

    /// Query parameters that something outside the routes reads: a layer of the application's, a
    /// proxy, the function of [`custom`](Self::custom). The routes refuse parameters that they do
    /// not know, but for these and those in which the layer of [`keys`](Self::keys) or
    /// [`owner`](Self::owner) looks for keys.
    ///
    /// ```
    /// use tower_api_key::{KeyManager, axum::ManagementGuard, store::MemoryStore};
    ///
    /// let keys = KeyManager::new(MemoryStore::new());
    /// let guard = ManagementGuard::owner(keys.layer()).with_query_parameters(["lang"]);
    /// # let _ = guard;
    /// ```
    pub fn with_query_parameters<T: Into<String>>(
        mut self,
        names: impl IntoIterator<Item = T>,
    ) -> Self {
        self.parameters.add(names);
        self
    }

    fn new(
        identify: impl Fn(&RequestHead<'_>) -> Result<ManagementCaller, Box<Response>>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        Self {
            identify: Arc::new(identify),
            rules: Rules::default(),
            layers: Vec::new(),
            parameters: Outside::default(),
        }
    }

    fn by_key(
        layer: ApiKeyLayer,
        caller: impl Fn(&AuthenticatedKey) -> Result<ManagementCaller, Rejection>
        + Send
        + Sync
        + 'static,
    ) -> Self {
        let known = layer.clone();
        // A layer may let requests in without a key (`allow_anonymous`, a bypass); not so here.
        let identify = move |request: &RequestHead<'_>| {
            // And an identity that another layer has attached, outside or inside, is none of ours.
            let key = authenticated::require_from(known.id(), request.extensions)
                .map_err(|absence| Box::new(absence.response(request).map(Body::from)))?;
            let mut caller = caller(key).map_err(|denied| Box::new(denied.into_response()))?;
            // The id first: the name is for its owner to choose.
            caller.actor.get_or_insert_with(|| format!("key {} ({})", key.id(), key.name()));
            caller.address = known.client_address(request);
            Ok(caller)
        };
        let mut guard = Self::new(identify);
        guard.parameters.add(layer.query_parameters());
        guard.with_layer(layer)
    }

    /// These routes behind this guard, and `otherwise` for other paths. To owners, the routes of
    /// administrators do not exist, for any method and body.
    pub(super) fn protect(
        self,
        routes: impl IntoIterator<Item = (&'static str, MethodRouter<Management>)>,
        of_administrators: impl IntoIterator<Item = (&'static str, MethodRouter<Management>)>,
        otherwise: MethodRouter,
        manager: KeyManager,
    ) -> Router {
        let parameters = Arc::new(self.parameters);
        let state = Management { manager, rules: self.rules, parameters };
        // Each route is a service here, for all methods: axum adds the `Allow` of a method router
        // to the answers of the layers around it, and a stranger would learn the methods.
        let guarded = routes.into_iter().fold(Router::new(), |guarded, (path, methods)| {
            guarded.route_service(path, methods.with_state(state.clone()))
        });
        let alone = from_fn_with_state(otherwise.clone(), administrators_alone);
        let guarded = of_administrators.into_iter().fold(guarded, |guarded, (path, methods)| {
            guarded.route_service(path, alone.layer(methods.with_state(state.clone())))
        });
        let guarded =
            guarded.fallback_service(otherwise).layer(from_fn_with_state(self.identify, identify));
        let guarded = self.layers.into_iter().rev().fold(guarded, |routes, layer| layer(routes));
        // A proxy's question whether to let a request in is no gRPC, also where the client says so.
        guarded.layer(map_request(async |mut request: Request| {
            GrpcDenials::Never.tell_inside(request.extensions_mut());
            request
        }))
    }
}

impl fmt::Debug for ManagementGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManagementGuard").finish_non_exhaustive()
    }
}

/// A caller of management routes: the keys that it manages, and its name for the audit log. See
/// [`ManagementGuard::custom`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ManagementCaller {
    owner: Option<OwnerBounds>,
    ceiling: Option<Scopes>,
    actor: Option<String>,
    address: Option<IpAddr>,
    /// The key that must have the scopes for the request.
    key: Option<Arc<KeyRecord>>,
}

impl ManagementCaller {
    /// A caller that manages the keys of all owners.
    pub const fn administrator() -> Self {
        Self { owner: None, ceiling: None, actor: None, address: None, key: None }
    }

    /// A caller that manages the keys of this owner, and may give them these scopes and no others.
    ///
    /// Lists, reads and [reduces](OwnerBounds#reducing) them. To create keys or to widen one is 403
    /// `beyond_own_key`, unless there is something to measure by: [`bounded_by`](Self::bounded_by)
    /// or [`with_template`](Self::with_template).
    pub fn owner(owner: impl Into<OwnerId>, scopes: Scopes) -> Self {
        Self { owner: Some(OwnerBounds::new(owner, scopes)), ..Self::administrator() }
    }

    /// Creates and widens keys within the bounds of this key; see [`OwnerBounds::bounded_by`]. An
    /// administrator becomes the owner of the key by this.
    pub fn bounded_by(mut self, key: &impl AsRef<KeyRecord>) -> Self {
        let bounds = self.owner.unwrap_or_else(|| {
            let key = key.as_ref();
            // No key has an empty owner, so that of a key without one manages nothing.
            OwnerBounds::new(key.owner.clone().unwrap_or_else(|| "".into()), key.scopes.clone())
        });
        self.owner = Some(bounds.bounded_by(key));
        self
    }

    /// Creates and widens keys within this template; see [`OwnerBounds::with_template`]. Makes no
    /// difference to an administrator, who creates any key.
    pub fn with_template(mut self, template: NewKey) -> Self {
        self.owner = self.owner.map(|bounds| bounds.with_template(template));
        self
    }

    /// May give keys these scopes and no others.
    pub fn within_scopes(mut self, scopes: Scopes) -> Self {
        self.ceiling = Some(scopes);
        self
    }

    /// The caller's name for the audit log; at most 255 characters are kept.
    pub fn acting_as(mut self, actor: &str) -> Self {
        self.actor = Some(actor.to_owned());
        self
    }

    /// The client's address, for the audit log.
    pub const fn from_address(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    fn handle(&self, Management { manager, rules, .. }: &Management) -> KeyManager {
        let mut handle = manager.clone();
        if let Some(bounds) = &self.owner {
            handle = handle.within_bounds(rules.apply(bounds.clone()));
        }
        if let Some(ceiling) = &self.ceiling {
            handle = handle.within_scopes(ceiling.clone());
        }
        if let Some(actor) = &self.actor {
            handle = handle.acting_as(actor);
        }
        if let Some(address) = self.address {
            handle = handle.from_address(address);
        }
        handle
    }
}

/// Identifies the caller, before anything of a request is read and before its path and method are
/// looked at.
async fn identify(
    State(identify): State<Arc<Identify>>,
    mut request: Request,
    next: Next,
) -> Response {
    match identify(&RequestHead::from(&request)) {
        Ok(caller) => {
            request.extensions_mut().insert(Identified(caller));
            next.run(request).await
        }
        Err(answer) => *answer,
    }
}

/// Answers owners as an unknown path does, before the method is looked at: a method router
/// would tell them by 405 and `Allow` that the route is there.
async fn administrators_alone(
    State(mut otherwise): State<MethodRouter>,
    request: Request,
    next: Next,
) -> Response {
    match request.extensions().get() {
        Some(Identified(caller)) if caller.owner.is_some() => {
            // It is ready at any time, and never fails.
            otherwise.call(request).await.into_response()
        }
        // Handlers refuse requests that did not come through the guard.
        _ => next.run(request).await,
    }
}

/// In the extensions of a request that passed the guard.
#[derive(Clone)]
struct Identified(ManagementCaller);

/// The state of the routes. The manager is private here: handlers come to keys through
/// [`Admitted`] alone.
#[derive(Clone)]
pub(super) struct Management {
    manager: KeyManager,
    rules: Rules,
    pub(super) parameters: Arc<Outside>,
}

impl Management {
    fn admit(&self, caller: ManagementCaller) -> Admitted {
        Admitted {
            keys: caller.handle(self),
            is_owner: caller.owner.is_some(),
            ceiling: caller.ceiling,
        }
    }
}

/// A request that may manage keys, and has no parameters in its query. This or
/// [`Asked`] is the first argument of every handler, so that nothing else of a
/// request is read before.
pub(super) struct Admitted {
    /// A handle on the keys that the caller may manage.
    pub(super) keys: KeyManager,
    /// Whether the caller is an owner, and not an administrator.
    pub(super) is_owner: bool,
    /// The scopes that the caller may grant; `None`: all.
    pub(super) ceiling: Option<Scopes>,
}

impl Admitted {
    /// Before the query is looked at.
    pub(super) fn identified(parts: &Parts, state: &Management) -> Result<Self, Box<Response>> {
        let caller = caller(parts)?;
        state.rules.check(caller.key.as_ref(), &parts.method)?;
        Ok(state.admit(caller))
    }
}

fn caller(parts: &Parts) -> Result<ManagementCaller, Box<Response>> {
    let identified = parts.extensions.get().cloned();
    identified.map(|Identified(caller)| caller).ok_or_else(|| {
        // Every way to these routes leads through the guard.
        let answer = Absence::NoLayer.response(&RequestHead::from(parts));
        Box::new(answer.map(Body::from))
    })
}

impl FromRequestParts<Management> for Admitted {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Management) -> Result<Self, Response> {
        let Asked(admitted, NoFilters) = Asked::from_request_parts(parts, state).await?;
        Ok(admitted)
    }
}

/// The same for the two acts on the caller's own key that need no scope: to look at it and to
/// revoke it.
pub(super) struct AdmittedTo {
    pub(super) keys: KeyManager,
    pub(super) id: KeyId,
}

impl FromRequestParts<Management> for AdmittedTo {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &Management) -> Result<Self, Response> {
        let caller = caller(parts).map_err(|answer| *answer)?;
        let id = Id::from_request_parts(parts, state).await;
        let is_own = |key: &Arc<KeyRecord>| id.as_ref().is_ok_and(|Id(id)| *id == key.id);
        if !caller.key.as_ref().is_some_and(is_own) {
            let key = caller.key.as_ref();
            state.rules.check(key, &parts.method).map_err(|answer| *answer)?;
        }
        let NoFilters = state.parameters.read(parts).map_err(IntoResponse::into_response)?;
        let Id(id) = id.map_err(IntoResponse::into_response)?;
        Ok(Self { keys: state.admit(caller).keys, id })
    }
}
