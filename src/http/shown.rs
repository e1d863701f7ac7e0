//! What answers repeat of a client's own words: no more than tells which they are.

use crate::key::characters::breaks_line;

/// As much of a name as tells which it is. It may be a key that was sent in the wrong place, and no
/// answer repeats one; the shortest have 16 characters.
pub(super) fn shown(name: &str) -> String {
    const MOST: usize = 12;
    let start = name.chars().take(MOST);
    let escaped =
        start.map(|c| if breaks_line(c) { c.escape_unicode().to_string() } else { c.to_string() });
    let end = if name.chars().nth(MOST).is_some() { "…" } else { "" };
    escaped.collect::<String>() + end
}

/// What serde writes before a text of the client, and the character around that text.
const BEFORE: [(&str, char); 4] = [
    ("unknown field `", '`'),
    ("unknown variant `", '`'),
    ("invalid type: string \"", '"'),
    ("invalid value: string \"", '"'),
];

/// What serde writes behind it. What it expects is a text of ours, without these words.
const BEHIND: [&str; 2] = [", expected ", ", there are no "];

/// Which field is wrong, and why: serde's words, with no more of the client's than [`shown`] shows.
pub(super) fn explained(error: serde_path_to_error::Error<serde_json::Error>) -> (String, String) {
    let path = error.path().to_string();
    let message = error.into_inner().to_string();
    let Some((before, quote)) = BEFORE.into_iter().find(|(before, _)| message.starts_with(before))
    else {
        return (path, message);
    };
    let sent = &message[before.len()..];
    let end = BEHIND.iter().filter_map(|behind| sent.rfind(behind)).max().unwrap_or(sent.len());
    let (sent, behind) = sent.split_at(end);
    let sent = sent.strip_suffix(quote).unwrap_or(sent);
    let field = match path.strip_suffix(sent) {
        Some(parent) if before.starts_with("unknown field") => format!("{parent}{}", shown(sent)),
        _ => path,
    };
    (field, format!("{before}{}{quote}{behind}", shown(sent)))
}
