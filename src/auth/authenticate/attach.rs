//! 11. Attach.

use http::Request;
use zeroize::Zeroizing;

use super::Admission;
use crate::{
    auth::{
        attached::{self, NoKey},
        config::Config,
        extract::{self, Ours, Precedence},
    },
    request::RequestHead,
};

/// Attaches the identity, in place of what a layer further out attached, and hides or marks the
/// keys in the request.
// Not inlined, so that the code around it is: that moves a request less often.
#[inline(never)]
pub(super) fn attach<B>(config: &Config, request: &mut Request<B>, admission: Admission) {
    config.renderer.grpc.tell_inside(request.extensions_mut());
    match admission {
        Admission::PassBy | Admission::Preflight | Admission::Anonymous => {
            let ours = Ours { formats: &config.formats, judged: None };
            if config.hide_credentials {
                extract::hide(&ours, &config.sources, request);
            } else {
                extract::mark_ours(&ours, &config.sources, request);
            }
            let is_preflight = matches!(admission, Admission::Preflight);
            let no_key = NoKey { layer: config.id, is_preflight, is_undecided: false };
            attached::attach_no_key(request.extensions_mut(), no_key);
        }
        Admission::Authenticated { key, source, is_marked, is_used_outside, consumed: _ } => {
            if let Some(usage) = &config.usage
                && !is_used_outside
            {
                usage.count_from(key.shared(), || RequestHead::from(&*request));
            }
            if config.hide_credentials {
                hide(config, request, source);
            } else if !is_marked {
                mark(config, request, source);
            }
            attached::attach_key(request.extensions_mut(), key);
        }
    }
    // After the key was found once more, to be hidden.
    if config.reads_websocket {
        extract::take_websocket_keys(&config.sources, request);
    }
}

/// Takes the key out that the request was judged by, and every other one.
fn hide<B>(config: &Config, request: &mut Request<B>, source: u16) {
    // Where several credentials are refused, the sources hold no other than this one.
    let only = config.sources.get(usize::from(source));
    let is_only = config.precedence == Precedence::RefuseSeveral;
    let only = only.filter(|_| is_only);
    match only.and_then(|source| extract::take_header(source, request.headers_mut())) {
        Some(taken) => {
            let ours = Ours { formats: &config.formats, judged: Some(taken.key()) };
            extract::hide_in_copies(&ours, &config.sources, request);
        }
        None => hide_all(config, request),
    }
}

#[inline(never)]
fn hide_all<B>(config: &Config, request: &mut Request<B>) {
    let head = RequestHead::from(&*request);
    let judged = extract::find(&config.sources, config.precedence, &head).ok().flatten();
    let judged = judged.and_then(|judged| judged.with_key(|key| Zeroizing::new(key.to_vec())));
    let judged = judged.as_ref().map(|key| key.as_slice());
    extract::hide(&Ours { formats: &config.formats, judged }, &config.sources, request);
}

/// Marks the header that held the key. Where the first source decided, the others may hold keys,
/// too.
#[inline]
fn mark<B>(config: &Config, request: &mut Request<B>, source: u16) {
    let headers = request.headers_mut();
    if config.precedence == Precedence::FirstSource {
        config.sources.iter().for_each(|source| extract::mark_sensitive(source, headers));
    } else if let Some(source) = config.sources.get(usize::from(source)) {
        extract::mark_sensitive(source, headers);
    }
}
