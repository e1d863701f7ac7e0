//! [`ConfigError`]: what is wrong with how the crate was set up.

use std::fmt;

/// A setting cannot be used. Raised while building a layer, a store or a manager, never while
/// judging a request (that is a [`Rejection`](crate::Rejection)).
///
/// `Display` names the setting and says what is expected; it never shows a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// A key prefix is not lower-case words joined by `_`, or is longer than 24 bytes.
    Prefix,
    /// The name of a header, authorization scheme, query parameter or cookie cannot be used.
    SourceName {
        /// Which kind of source it was for.
        family: &'static str,
    },
    /// [`KeySource::header_scheme`](crate::KeySource::header_scheme) was called with `Basic`.
    BasicScheme,
    /// An environment variable is unset or is not Unicode.
    EnvironmentUnset {
        /// The name of the variable.
        variable: String,
    },
    /// An environment variable holds something other than a secret of the required length.
    EnvironmentValue {
        /// The name of the variable.
        variable: String,
        /// The form of a good value.
        expected: &'static str,
    },
    /// A static key is not visible ASCII of 16 to 512 bytes.
    StaticKey {
        /// The name given to the key.
        name: String,
    },
    /// Two static keys have the same secret.
    DuplicateStaticKey {
        /// The name given to the second of them.
        name: String,
    },
    /// Two static keys have the same name, or the same id.
    DuplicateStaticKeyName {
        /// The name given to the second of them.
        name: String,
    },
    /// A static key can be guessed.
    WeakStaticKey {
        /// The name given to the key.
        name: String,
    },
    /// A pepper is shorter than 32 bytes.
    PepperTooShort,
    /// The text of a pepper has more than one line.
    PepperLines,
    /// An issuer secret is shorter than 32 bytes.
    IssuerSecretTooShort,
    /// The text of an issuer secret has more than one line.
    IssuerSecretLines,
    /// A secret is a pepper and an issuer secret as well.
    SharedSecret,
    /// [`KeyFormat::sealed`](crate::KeyFormat::sealed) was called on the opaque format.
    OpaqueSealed,
    /// [`KeyFormat::sealed_only`](crate::KeyFormat::sealed_only) was called on a format that issues
    /// keys without a seal.
    NotSealed,
    /// The lengths of an opaque format are not within 8 and 4096, or none of them is at least 22.
    OpaqueLengths,
    /// A table name is not a plain identifier of at most 48 characters.
    TableName,
    /// A store was asked for by a URL that cannot be used.
    StoreUrl {
        /// The form of a good one.
        expected: &'static str,
    },
    /// The URL of a store has an option that would not be honoured.
    StoreOption {
        /// The option's name, in backquotes, or `one` where a part of a password may stand there.
        option: String,
        /// The mistake in it.
        problem: &'static str,
    },
    /// A store was asked for by the URL of something that is not a store.
    StoreScheme {
        /// The scheme of the URL.
        scheme: String,
    },
    /// A store was asked for that this program was built without.
    StoreFeature {
        /// The feature of this crate that it needs.
        feature: &'static str,
    },
    /// A setting needs a store that can do more than this one.
    StoreCapability {
        /// The setting.
        setting: &'static str,
        /// What the store lacks, and the method of [`KeyRepository`](crate::store::KeyRepository) that
        /// says so.
        lacks: &'static str,
        /// The remedy.
        remedy: &'static str,
    },
    /// A setting of a layer needs the client's address, and the layer was not told how to tell it: see
    /// [`with_client_address`](crate::ApiKeyLayer::with_client_address).
    AddressSource {
        /// The setting.
        setting: &'static str,
    },
    /// [`ForwardedFor`](crate::auth::ForwardedFor) or a
    /// [`ForwardAuth`](crate::forward_auth::ForwardAuth) trusts no network, so that the headers of proxies
    /// would never be read.
    NoTrustedNetwork,
    /// A rule of [`ForwardAuth`](crate::forward_auth::ForwardAuth) cannot be used.
    ForwardAuthRule {
        /// The path that it names.
        path: String,
        /// The mistake in it.
        problem: &'static str,
    },
    /// A [`ForwardAuth`](crate::forward_auth::ForwardAuth) has no rule, so that no request would be let in.
    NoForwardAuthRule,
    /// The URL of a service's metadata cannot stand in a challenge.
    ResourceMetadata {
        /// The mistake in it.
        problem: &'static str,
    },
    /// Two settings cannot hold together.
    Contradiction {
        /// The settings.
        settings: [&'static str; 2],
        /// Why not.
        problem: &'static str,
    },
    /// The name of a channel for invalidations has other characters than it may have, or too many.
    ChannelName,
    /// The identity of a store is not 32 hexadecimal digits.
    StoreId,
    /// The window of a quota is none, not of whole milliseconds, or longer than 31 days.
    QuotaWindow,
    /// The name of a limit is not 1 to 32 ASCII letters, digits and `_-.`.
    LimitName,
    /// Two limits of a key have the same name.
    DuplicateLimit,
    /// A key has more than eight limits.
    TooManyLimits,
    /// A Redis URL cannot be used.
    RedisUrl,
    /// A prefix for the keys in Redis has other characters than it may have, or too many.
    RedisPrefix,
    /// The key of a client is not 8 to 4096 bytes of visible ASCII, or has another format than it was
    /// to have.
    ClientKey,
    /// No origin was named to which a client may send its key.
    NoOrigin,
    /// An origin to which a client may send its key cannot be used.
    Origin {
        /// Its number, from 1.
        number: usize,
        /// The mistake in it.
        problem: &'static str,
    },
    /// The default origin of a client is none of those to which it may send its key.
    NotAnOrigin,
}

impl fmt::Display for ConfigError {
    #[expect(clippy::too_many_lines, reason = "one text for each")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str(
                "the key prefix must be lower-case letters and digits in words joined by `_`, \
                 start with a letter, and have at most 24 bytes",
            ),
            Self::SourceName { family } => {
                write!(f, "the name of a {family} source is empty or has a character that cannot be there")
            }
            Self::BasicScheme => f.write_str(
                "credentials of the scheme `Basic` are encoded: read them with `KeySource::basic`",
            ),
            Self::EnvironmentUnset { variable } => {
                write!(f, "the environment variable {variable} is not set, or not Unicode")
            }
            Self::EnvironmentValue { variable, expected } => {
                write!(f, "the environment variable {variable} must hold {expected}")
            }
            Self::StaticKey { name } => {
                write!(f, "the static key {name:?} must be 16 to 512 bytes of visible ASCII")
            }
            Self::DuplicateStaticKey { name } => {
                write!(f, "the static key {name:?} has the same secret as another")
            }
            Self::DuplicateStaticKeyName { name } => {
                write!(f, "the static key {name:?} has the same name or id as another")
            }
            Self::WeakStaticKey { name } => write!(
                f,
                "the static key {name:?} can be guessed: make a good one with \
                 `tower-api-key generate`, or with `openssl rand -hex 32`"
            ),
            Self::PepperLines => f.write_str("a pepper must be one line"),
            Self::PepperTooShort => f.write_str("a pepper must have at least 32 bytes"),
            Self::IssuerSecretLines => f.write_str("an issuer secret must be one line"),
            Self::IssuerSecretTooShort => {
                f.write_str("an issuer secret must have at least 32 bytes")
            }
            Self::SharedSecret => f.write_str(
                "a secret is used as a pepper and as an issuer secret: make another one for one of \
                 them, with `openssl rand -hex 32`",
            ),
            Self::OpaqueSealed => f.write_str(
                "opaque keys have no place for a seal: use a format with a prefix",
            ),
            Self::NotSealed => f.write_str(
                "the format issues keys without a seal, so it cannot accept sealed ones only: seal \
                 it with a current issuer secret first",
            ),
            Self::OpaqueLengths => f.write_str(
                "the lengths of an opaque format must be within 8 and 4096, and one of them at least 22",
            ),
            Self::TableName => f.write_str(
                "the table name must be an ASCII letter or `_` followed by letters, digits and `_`, \
                 at most 48 characters",
            ),
            Self::StoreUrl { expected } => {
                write!(f, "the store's URL cannot be used: it must be {expected}")
            }
            Self::StoreOption { option, problem } => {
                write!(f, "of the options in the store's URL, {option} {problem}")
            }
            Self::StoreScheme { scheme } => write!(
                f,
                "there is no store for {scheme}://; there are memory:, sqlite:, postgres://, \
                 mysql:// and redis://"
            ),
            Self::StoreFeature { feature } => {
                write!(f, "this store needs the feature `{feature}` of tower-api-key")
            }
            Self::StoreCapability { setting, lacks, remedy } => {
                write!(f, "`{setting}` cannot be used with this store, which {lacks}: {remedy}")
            }
            Self::AddressSource { setting } => {
                write!(f, "`{setting}` needs clients' addresses: call `with_client_address` before")
            }
            Self::NoTrustedNetwork => f.write_str(
                "no network of proxies is trusted, so that their headers would never be read: name \
                 the networks of the proxies that write them",
            ),
            Self::ForwardAuthRule { path, problem } => {
                write!(f, "the forward-auth rule {path:?} {problem}")
            }
            Self::NoForwardAuthRule => f.write_str(
                "forward-auth has no rule, so that no request would be let in: name the routes",
            ),
            Self::ResourceMetadata { problem } => {
                write!(f, "the URL of the resource metadata {problem}")
            }
            Self::Contradiction { settings: [one, other], problem } => {
                write!(f, "`{one}` and `{other}` cannot be used together: {problem}")
            }
            Self::StoreId => f.write_str("the identity of a store is 32 hexadecimal digits"),
            Self::ChannelName => f.write_str(
                "the name of a channel must be 1 to 63 ASCII letters, digits and `_-.:`",
            ),
            Self::QuotaWindow => f.write_str(
                "the window of a quota must be of whole milliseconds, and at most 31 days",
            ),
            Self::LimitName => f.write_str(
                "the name of a limit must be 1 to 32 ASCII letters, digits and `_-.`",
            ),
            Self::DuplicateLimit => f.write_str("two limits of a key have the same name"),
            Self::TooManyLimits => f.write_str("a key has at most 8 limits"),
            Self::RedisUrl => f.write_str(
                "the Redis URL must be like redis://user:password@host:port/database; rediss:// \
                 needs a TLS feature of the crate redis",
            ),
            Self::RedisPrefix => f.write_str(
                "the prefix of keys in Redis must be 1 to 64 ASCII letters, digits and `_-.:/`",
            ),
            Self::ClientKey => {
                f.write_str(
                    "the key of a client must be 8 to 4096 bytes of visible ASCII, and of the format \
                     that was asked for",
                )
            }
            Self::NoOrigin => f.write_str(
                "a client's key needs an origin to which it may be sent, such as \
                 https://api.example.com",
            ),
            Self::Origin { number, problem } => {
                write!(f, "origin {number} of a client's key {problem}")
            }
            Self::NotAnOrigin => f.write_str(
                "the default origin must be one of those to which the key may be sent",
            ),
        }
    }
}

impl std::error::Error for ConfigError {}
