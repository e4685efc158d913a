//! Ids of documents that come as files.

use crate::Result;
use crate::document::DocumentId;
use crate::identity::content_hash;

/// The file's name, if that can be an id. Otherwise the name without what an id can't hold, and 8 characters of its hash,
/// so that the same name always gives the same id, and two names never do.
///
/// # Errors
/// None that is known of; whatever [`DocumentId::new`] says.
pub fn id_of(name: &str) -> Result<DocumentId> {
    if let Ok(id) = DocumentId::new(name) {
        return Ok(id);
    }
    let hash = &content_hash(name.as_bytes())[..8];
    let segments = name.split('/').filter(|segment| !matches!(*segment, "" | "." | ".."));
    let cleaned = segments.map(clean).collect::<Vec<_>>().join("/");
    let (stem, ending) = match cleaned.rsplit_once('.') {
        Some((stem, ending)) if (1..=16).contains(&ending.len()) && !ending.contains(['/', '-']) => {
            (stem, format!(".{ending}"))
        }
        _ => (cleaned.as_str(), String::new()),
    };
    let room = DocumentId::MAX_BYTES - hash.len() - 1 - ending.len();
    let stem = stem[..stem.len().min(room)].trim_matches(['/', '-', '.']);
    let dash = if stem.is_empty() { "" } else { "-" };
    DocumentId::new(format!("{stem}{dash}{hash}{ending}"))
}

/// Whatever an id can't hold becomes a dash, one for a row of them.
fn clean(segment: &str) -> String {
    let mut cleaned = String::with_capacity(segment.len());
    for character in segment.chars() {
        if character.is_ascii_alphanumeric() || "._-".contains(character) {
            cleaned.push(character);
        } else if !cleaned.ends_with('-') {
            cleaned.push('-');
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_can_be_an_id_stays() {
        for name in ["notes.md", "a/b/c.txt", "README", ".hidden"] {
            assert_eq!(id_of(name).unwrap().as_str(), name);
        }
    }

    #[test]
    fn any_other_loses_what_it_can_not_hold_and_gets_a_hash() {
        for (name, shape) in [
            ("My notes (2).md", "My-notes-2-########.md"),
            ("Übersicht.md", "bersicht-########.md"),
            ("今天.md", "########.md"),
            ("../../etc/passwd", "etc/passwd-########"),
            ("C:\\docs\\a.txt", "C-docs-a-########.txt"),
            ("a//b.md", "a/b-########.md"),
            ("a.b c", "a.b-c-########"),
            ("..", "########"),
            ("", "########"),
            ("a /.../ b", "a-/.../-b-########"),
        ] {
            let id = id_of(name).unwrap();
            let hash = &content_hash(name.as_bytes())[..8];
            assert_eq!(id.as_str().replace(hash, "########"), shape, "{name}");
            assert_eq!(id, id_of(name).unwrap());
        }
        let long = format!("{}.md", "x".repeat(300));
        let id = id_of(&long).unwrap();
        assert!(
            id.as_str().len() == 128
                && id.as_str().rsplit_once('.').is_some_and(|(_, ending)| ending == "md"),
            "{id}"
        );
        assert_ne!(id_of("a b.md").unwrap(), id_of("a?b.md").unwrap());
    }

    #[test]
    fn every_name_gets_an_id() {
        let pieces =
            ["/", ".", "..", "-", " ", "é", "x", "\\", "\0", "md", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"];
        let mut name = String::new();
        for step in 0..20_000_usize {
            if step % 41 == 0 {
                name.clear();
            }
            name.push_str(pieces[(step * 7919 + step / 3) % pieces.len()]);
            id_of(&name).unwrap();
        }
    }
}
