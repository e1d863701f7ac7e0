//! The errors of the routes: each `code` with its meaning. They are made in `src/http/`.

use http::StatusCode;
use utoipa::openapi::Response;

use super::responses::{problem, retry_after};

pub(super) type Error = (&'static str, &'static str);

pub(super) const BODY: Error = ("incomplete_body", "The body ended early.");
pub(super) const SLOW: Error =
    ("slow_body", "The body took too long to arrive, where the server sets a time for that.");
pub(super) const BAD_JSON: Error = ("malformed_json", "The body is not JSON.");
pub(super) const BAD_PARAMETER: Error =
    ("invalid_parameter", "A parameter or header is wrong, see `field`.");
pub(super) const CEILING: Error =
    ("scope_ceiling", "The API key has, or would get, scopes that you may not grant.");
pub(super) const BEYOND: Error =
    ("beyond_own_key", "The API key has, or would get, what is not yours to give, see `field`.");
pub(super) const NEEDS_SCOPE: Error =
    ("insufficient_scope", "Your API key does not have the scope that this takes.");
pub(super) const NEEDS_VERIFY: Error =
    ("insufficient_scope", "The program's own API key does not have the scope `keys:verify`.");
pub(super) const INSECURE: Error =
    ("insecure_transport", "The request came neither over TLS nor from a private address.");
pub(super) const NOT_LOCAL: Error = (
    "address_not_allowed",
    "The request did not come from this machine, where programs ask without an API key.",
);
pub(super) const CROSS_SITE: Error =
    ("cross_site_request", "The request came from a page in a browser.");
pub(super) const TOO_MANY_KEYS: Error =
    ("too_many_keys", "You have as many API keys as one owner may have.");
pub(super) const TOO_FAST: Error = ("rate_limited", "Too many changes in too little time.");
pub(super) const NO_KEY: Error = ("not_found", "There is no API key with this id.");
pub(super) const CREATED: Error =
    ("already_created", "This `Idempotency-Key` has created an API key already, see `key`.");
pub(super) const ROTATED: Error =
    ("already_rotated", "The API key was replaced already, see `rotated_to`.");
pub(super) const ENDED: Error = ("key_ended", "The API key is revoked or has expired.");
pub(super) const SPENDS_NONE: Error = ("no_credits", "The API key spends no credits.");
pub(super) const NOT_ENOUGH: Error = (
    "not_enough_credits",
    "The API key has less credits left than were to be subtracted, see `remaining`.",
);
pub(super) const REUSED: Error = (
    "request_id_reused",
    "Another request with this `Idempotency-Key` has done something else already.",
);
pub(super) const CHANGED: Error =
    ("revision_mismatch", "The API key does not have the `ETag` in `If-Match`.");
pub(super) const TOO_LARGE: Error = ("body_too_large", "The body has more than 64 KiB.");
pub(super) const NOT_JSON: Error =
    ("unsupported_media_type", "The body's `Content-Type` is not JSON.");
pub(super) const BAD_FIELD: Error = ("invalid_field", "A field of the body is wrong, see `field`.");
pub(super) const INTERNAL: Error = ("internal_error", "The server's fault.");
pub(super) const UNSUPPORTED: Error =
    ("not_supported", "The store that API keys are kept in has no audit log.");

pub(super) const NO_USAGE: Error =
    ("not_supported", "The store that API keys are kept in keeps no usage.");
pub(super) const NO_CREDITS: Error =
    ("not_supported", "The store that API keys are kept in keeps no credits.");

pub(super) const NO_REQUESTS: Error =
    ("not_supported", "The store that API keys are kept in keeps no `Idempotency-Key`.");

pub(super) const NO_SETS: Error =
    ("not_supported", "The store that API keys are kept in cannot change many together.");

pub(super) fn unavailable() -> Response {
    let meaning = "API keys cannot be read or written right now.";
    retry_after(problem(StatusCode::SERVICE_UNAVAILABLE, &[("store_unavailable", meaning)]))
}

/// Where it is not known whether a key is good.
pub(super) fn cannot_tell() -> Response {
    let unavailable = ("store_unavailable", "The store that API keys are kept in cannot tell.");
    let overloaded = ("lookup_overloaded", "Too many requests are being checked right now.");
    let limiter = ("limiter_unavailable", "The rate limiter cannot tell, with `spend`.");
    let codes = [unavailable, overloaded, limiter];
    retry_after(problem(StatusCode::SERVICE_UNAVAILABLE, &codes))
}
