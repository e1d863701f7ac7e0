//! A thing that has a builder has no settings of its own: set on a clone, one would begin anew.

use std::path::Path;

use super::words::sources;

#[test]
fn what_is_built_cannot_be_set() {
    let source = source();
    let things = things(&source);
    for thing in ["CachedOwners", "CachedStore", "Credits", "LocalLimiter", "RedisLimiter"] {
        assert!(things.contains(&thing), "{things:?}");
    }
    for thing in things {
        let mut of_thing = methods_that_take_self(&source, thing);
        // A store on the application's own connections has no builder, and its table is no state.
        of_thing.retain(|method| *method != "with_table");
        assert_eq!(of_thing, [""; 0], "{thing} has settings: its builder should have them");
        let of_builder = methods_that_take_self(&source, &format!("{thing}Builder"));
        let ends = of_builder.iter().any(|method| ["build", "connect"].contains(method));
        assert!(ends, "{thing}: {of_builder:?}");
        let begins = source.contains(&format!("-> {thing}Builder"));
        assert!(begins, "no function returns a {thing}Builder");
        let declared = format!("#[must_use]\npub struct {thing}Builder");
        assert!(source.contains(&declared), "a {thing}Builder that is dropped does nothing");
    }
}

#[test]
fn methods_are_found_in_blocks() {
    let source = "impl<R: Resolver> Thing<R> {\n    pub fn new() -> Self {\n    }\n    \
        pub fn with_a(self, a: u8) -> Self {\n    }\n    pub fn b<T>(mut self) -> Self {\n    }\n\
        }\nimpl ThingBuilder {\n    pub fn build(self) -> Thing {\n    }\n}\n\
        impl Thing {\n    pub fn with_c(\n        self,\n    ) -> Self {\n    }\n    \
        pub fn read(&self) {\n    }\n}\n";
    assert_eq!(methods_that_take_self(source, "Thing"), ["with_a", "b", "with_c"]);
    assert_eq!(methods_that_take_self(source, "ThingBuilder"), ["build"]);
}

fn source() -> String {
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    files.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("\n")
}

/// The types that have a public builder.
fn things(source: &str) -> Vec<&str> {
    let names = source.split("\npub struct ").skip(1).map(first_word);
    names.filter_map(|name| name.strip_suffix("Builder")).collect()
}

/// The public methods of a type that take it by value.
fn methods_that_take_self<'s>(source: &'s str, name: &str) -> Vec<&'s str> {
    let mut methods = Vec::new();
    for block in source.split("\nimpl").skip(usize::from(!source.starts_with("impl"))) {
        let head = block.split(" {\n").next().unwrap();
        let subject = head.rsplit("> ").next().unwrap().trim_start();
        let is_wanted = !head.contains(" for ") && first_word(subject) == name;
        let block = block.split("\n}\n").next().unwrap().split("\n    pub ").skip(1);
        let methods_here = block.filter_map(|item| {
            item.trim_start_matches("const ").trim_start_matches("async ").strip_prefix("fn ")
        });
        for method in methods_here.filter(|_| is_wanted) {
            let parameters = method.split_once('(').unwrap().1.trim_start();
            if parameters.starts_with("self") || parameters.starts_with("mut self") {
                methods.push(first_word(method));
            }
        }
    }
    methods
}

fn first_word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap()
}
