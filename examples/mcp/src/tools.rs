//! [`ToolScopes`]: which scope each tool asks for.

use std::{collections::BTreeMap, sync::Arc};

use tower_api_key::{
    AuthenticatedKey, Scopes,
    scope::{InvalidScope, ScopeRule},
};

/// Whether keys may use tools. A tool that is not in it is open to no key.
#[derive(Clone, Debug)]
pub struct ToolScopes {
    rules: Arc<BTreeMap<&'static str, ScopeRule>>,
}

impl ToolScopes {
    /// Of the names of tools, each with the scope that it asks for.
    pub fn new(
        tools: impl IntoIterator<Item = (&'static str, &'static str)>,
    ) -> Result<Self, InvalidScope> {
        let rules = tools.into_iter().map(|(tool, scope)| Ok((tool, ScopeRule::scope(scope)?)));
        Ok(Self { rules: Arc::new(rules.collect::<Result<_, _>>()?) })
    }

    /// Whether the key may see and call this tool.
    pub fn allow(&self, key: &AuthenticatedKey, tool: &str) -> bool {
        self.rules.get(tool).is_some_and(|rule| rule.is_met_by(key.scopes()))
    }

    /// The scopes that the key lacks for this tool. `None` also for a tool that there is not: the server
    /// knows better how to say that.
    pub(crate) fn missing(&self, key: &AuthenticatedKey, tool: &str) -> Option<Scopes> {
        let rule = self.rules.get(tool).filter(|rule| !rule.is_met_by(key.scopes()))?;
        Some(rule.missing(key.scopes()))
    }

    /// All scopes that tools ask for.
    pub(crate) fn all(&self) -> Scopes {
        let none = Scopes::default();
        let each = self.rules.values().map(|rule| rule.missing(&none));
        let names: Vec<_> =
            each.flat_map(|s| s.iter().map(str::to_owned).collect::<Vec<_>>()).collect();
        Scopes::parse(names).unwrap_or_default()
    }

    /// The names of all tools.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.rules.keys().copied()
    }
}
