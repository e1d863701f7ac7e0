//! The one credential of a request is found, and nothing else.

use super::{
    choices::Choices,
    requests::{places, request},
};
use crate::{
    auth::{
        KeySource, Precedence,
        extract::{
            find, holds_any, mark_sensitive, may_hold_other_than_plain, read_and_mark, take_header,
        },
    },
    key::RejectionKind,
    request::{RequestHead, have_no_repeats},
};

/// Index of the source, and the key.
type Only = Result<Option<(u16, Option<Vec<u8>>)>, RejectionKind>;

/// Reading by sources finds what reading by the documentation finds, in each of the ways to do it.
pub fn extraction(input: &[u8]) {
    let mut choices = Choices::new(input);
    let (places, first) = (places(&mut choices), choices.is());
    let precedence = if first { Precedence::FirstSource } else { Precedence::RefuseSeveral };
    let mut request = request(choices);
    let sources: Vec<KeySource> = places.iter().map(|place| place.source()).collect();

    let all: Vec<_> = places.iter().map(|place| place.credentials(&request)).collect();
    let mut holding = (0_u16..).zip(&all).filter(|(_, credentials)| !credentials.is_empty());
    let several = holding.clone().count() > 1;
    let expected: Only = match holding.next() {
        None => Ok(None),
        Some(_) if several && !first => Err(RejectionKind::Ambiguous),
        Some((_, credentials)) if credentials.len() > 1 => Err(RejectionKind::Ambiguous),
        Some((index, credentials)) => Ok(Some((index, credentials[0].clone()))),
    };
    let head = RequestHead::from(&request);
    let found: Only = find(&sources, precedence, &head)
        .map(|found| found.map(|found| (found.source, found.with_key(<[u8]>::to_vec))));
    assert_eq!(found, expected);
    assert_eq!(holds_any(&sources, &head), all.iter().any(|credentials| !credentials.is_empty()));
    for (source, credentials) in sources.iter().zip(&all) {
        let only = (credentials.len() == 1).then(|| credentials[0].clone()).flatten();
        assert_eq!(source.with_only(&head, <[u8]>::to_vec), only);
    }

    let may_hold_others = may_hold_other_than_plain(&sources, &head);
    for (source, credentials) in sources.iter().zip(&all) {
        assert!(may_hold_others || source.is_plain() || credentials.is_empty());
    }
    if have_no_repeats(request.headers()) && !may_hold_others && !first {
        let mut request = request.clone();
        let read = read_and_mark(&sources, request.headers_mut(), <[u8]>::to_vec);
        assert_eq!(read.map(|read| read.map(|(source, key)| (source, Some(key)))), expected);
    }
    if let Ok(Some((source, Some(key)))) = expected {
        let source = &sources[usize::from(source)];
        if let Some(taken) = take_header(source, &mut request.headers().clone()) {
            assert_eq!(taken.key(), key);
        }
        let before = request.headers().clone();
        mark_sensitive(source, request.headers_mut());
        assert_eq!(*request.headers(), before);
        for (name, value) in request.headers() {
            assert!(source.header_name() != Some(name) || value.is_sensitive());
        }
    }
}
