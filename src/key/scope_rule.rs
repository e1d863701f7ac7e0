//! [`ScopeRule`]: what a route asks for.

use super::scope::{InvalidScope, Scope, Scopes};

/// A combination of scopes: all of some, any of some, not some, nested at will.
///
/// ```
/// use tower_api_key::{Scopes, scope::ScopeRule};
///
/// // Reads orders, and is either an auditor or not a bot.
/// let rule = ScopeRule::all([
///     ScopeRule::scope("orders:read")?,
///     ScopeRule::any([ScopeRule::scope("auditor")?, !ScopeRule::scope("bot")?]),
/// ]);
/// assert!(rule.is_met_by(&Scopes::parse(["orders:*"])?));
/// assert!(!rule.is_met_by(&Scopes::parse(["orders:read", "bot"])?));
/// # Ok::<(), tower_api_key::scope::InvalidScope>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeRule(Rule);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Scope(Scope),
    All(Vec<ScopeRule>),
    Any(Vec<ScopeRule>),
    Not(Box<ScopeRule>),
}

impl ScopeRule {
    /// Met by keys whose scopes cover this one.
    pub fn scope(scope: &str) -> Result<Self, InvalidScope> {
        scope.parse().map(|scope| Self(Rule::Scope(scope)))
    }

    /// Met when every one of `rules` is; without any, by every key.
    pub fn all(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::All(rules.into_iter().collect()))
    }

    /// Met when at least one of `rules` is; without any, by no key.
    pub fn any(rules: impl IntoIterator<Item = Self>) -> Self {
        Self(Rule::Any(rules.into_iter().collect()))
    }

    /// Whether a key with these scopes is let through.
    pub fn is_met_by(&self, granted: &Scopes) -> bool {
        match &self.0 {
            Rule::Scope(scope) => granted.allow(scope),
            Rule::All(rules) => rules.iter().all(|rule| rule.is_met_by(granted)),
            Rule::Any(rules) => rules.iter().any(|rule| rule.is_met_by(granted)),
            Rule::Not(rule) => !rule.is_met_by(granted),
        }
    }

    /// The scopes that would help a key that does not meet the rule: of `all`, each missing one;
    /// of `any`, every alternative; of `not`, none, because adding a scope cannot help.
    pub fn missing(&self, granted: &Scopes) -> Scopes {
        let mut missing = Vec::new();
        self.collect_missing(granted, &mut missing);
        missing.into_iter().collect()
    }

    fn collect_missing(&self, granted: &Scopes, missing: &mut Vec<Scope>) {
        if self.is_met_by(granted) {
            return;
        }
        match &self.0 {
            Rule::Scope(scope) => missing.push(scope.clone()),
            Rule::All(rules) | Rule::Any(rules) => {
                for rule in rules {
                    rule.collect_missing(granted, missing);
                }
            }
            Rule::Not(_) => {}
        }
    }
}

impl From<Scope> for ScopeRule {
    fn from(scope: Scope) -> Self {
        Self(Rule::Scope(scope))
    }
}

impl std::ops::Not for ScopeRule {
    type Output = Self;

    fn not(self) -> Self {
        Self(Rule::Not(Box::new(self)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> ScopeRule {
        ScopeRule::scope(text).unwrap()
    }

    fn scopes(list: &[&str]) -> Scopes {
        Scopes::parse(list).unwrap()
    }

    #[test]
    fn missing_names_only_what_would_help() {
        let rule = ScopeRule::all([
            scope("a"),
            scope("b"),
            ScopeRule::any([scope("c"), scope("d")]),
            !scope("bot"),
        ]);
        assert_eq!(rule.missing(&scopes(&["a"])), scopes(&["b", "c", "d"]));
        assert_eq!(rule.missing(&scopes(&["a", "b", "d", "bot"])), scopes(&[]));
        assert!(!rule.is_met_by(&scopes(&["a", "b", "d", "bot"])));
        assert!(rule.is_met_by(&scopes(&["a", "b", "d"])));
    }

    #[test]
    fn empty_rules_and_empty_keys() {
        assert!(ScopeRule::all([]).is_met_by(&scopes(&[])));
        assert!(!ScopeRule::any([]).is_met_by(&scopes(&["*"])));
        assert!(!scope("a").is_met_by(&scopes(&[])));
        assert!((!scope("a")).is_met_by(&scopes(&[])));
        assert!(!(!scope("a")).is_met_by(&scopes(&["*"])));
    }
}
