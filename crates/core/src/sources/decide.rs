//! What is to be done about an object, by what it is now and what is known of it.

use crate::ports::{Holder, Known, ObjectState, Row};

/// What is to be done about an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing: all is as it should be.
    Keep,
    /// Make a document of it.
    Take,
    /// Leave it: its document's id has one that was uploaded.
    Refuse,
    /// Delete its document.
    Remove,
    /// Forget it: there is no document of it.
    Forget,
}

/// `version` is the object's, if it is there and meant; `stamp` is [`crate::settings::Source::stamp`].
///
/// A document that was uploaded is never replaced and never deleted. One that was made of an object, and deleted since by
/// somebody else, is made again: the bucket has the last word.
pub fn decide(version: Option<&str>, row: Option<&Row>, holder: Option<&Holder>, stamp: &str) -> Action {
    let uploaded = holder.is_some_and(|holder| !holder.is_from_source());
    let Some(version) = version else {
        return match (row, holder) {
            (_, Some(_)) if !uploaded => Action::Remove,
            (Some(_), _) => Action::Forget,
            (None, _) => Action::Keep,
        };
    };
    let original = holder.map(|holder| holder.original.as_str());
    let settled = row.is_some_and(|row| {
        row.version.as_deref() == Some(version)
            && row.stamp == stamp
            && row.original.as_deref() == original
            && match row.state {
                ObjectState::Taken => original.is_some() && !uploaded,
                ObjectState::Skipped => true,
                ObjectState::New | ObjectState::Failed => false,
            }
    });
    match (settled, uploaded) {
        (true, _) => Action::Keep,
        (false, true) => Action::Refuse,
        (false, false) => Action::Take,
    }
}

/// Whether an object that is listed needs a look.
pub fn differs(version: &str, known: &Known, at_its_place: bool, stamp: &str) -> bool {
    let row = known.row.as_ref();
    !at_its_place
        || row.is_some_and(|row| row.pending)
        || decide(Some(version), row, known.holder.as_ref(), stamp) != Action::Keep
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tenant;
    use crate::document::DocumentId;

    const OWN: &str = "originals/me/source.1";
    const OTHER: &str = "originals/me/source.2";
    const UPLOADED: &str = "originals/me/1";

    fn row(state: ObjectState, version: Option<&str>, original: Option<&str>) -> Row {
        Row {
            tenant: Tenant::new("me").unwrap(),
            document: DocumentId::new("a.md").unwrap(),
            state,
            version: version.map(ToOwned::to_owned),
            stamp: "s".into(),
            original: original.map(ToOwned::to_owned),
            pending: false,
            edition: 1,
        }
    }

    fn holder(original: &str) -> Holder {
        Holder { current: 1, original: original.into() }
    }

    #[test]
    fn every_case() {
        use Action::{Forget, Keep, Refuse, Remove, Take};
        use ObjectState::{Failed, New, Skipped, Taken};
        let (own, other, uploaded) = (Some(OWN), Some(OTHER), Some(UPLOADED));
        let (one, two) = (Some("1"), Some("2"));
        for (what, version, row, holding, action) in [
            ("new", one, None, None, Take),
            ("new, and its row was lost", one, None, own, Take),
            ("new, and its id is taken", one, None, uploaded, Refuse),
            ("asked for, not looked at yet", one, Some(row(New, None, None)), None, Take),
            ("as it was", one, Some(row(Taken, one, own)), own, Keep),
            ("written again", two, Some(row(Taken, one, own)), own, Take),
            ("its document is of another copy", one, Some(row(Taken, one, own)), other, Take),
            ("its document was deleted", one, Some(row(Taken, one, own)), None, Take),
            ("its document was replaced", one, Some(row(Taken, one, own)), uploaded, Refuse),
            ("could not be read", one, Some(row(Skipped, one, None)), None, Keep),
            (
                "could not be read, and there is its old document",
                one,
                Some(row(Skipped, one, own)),
                own,
                Keep,
            ),
            ("could not be read before", two, Some(row(Skipped, one, None)), None, Take),
            ("refused, and still", one, Some(row(Skipped, one, uploaded)), uploaded, Keep),
            ("refused, and free now", one, Some(row(Skipped, one, uploaded)), None, Take),
            (
                "could not be read, and its id is taken now",
                one,
                Some(row(Skipped, one, None)),
                uploaded,
                Refuse,
            ),
            ("failed", one, Some(row(Failed, None, None)), None, Take),
            ("gone", None, Some(row(Taken, one, own)), own, Remove),
            ("gone, and its row was lost", None, None, own, Remove),
            ("gone, and its document is", None, Some(row(Taken, one, own)), None, Forget),
            ("gone, and its document was replaced", None, Some(row(Taken, one, own)), uploaded, Forget),
            ("never seen", None, None, None, Keep),
            ("of no concern", None, None, uploaded, Keep),
        ] {
            let holding = holding.map(holder);
            assert_eq!(decide(version, row.as_ref(), holding.as_ref(), "s"), action, "{what}");
        }
        let older = Row { stamp: "t".into(), ..row(Taken, one, own) };
        assert_eq!(decide(one, Some(&older), Some(&holder(OWN)), "s"), Take);
    }

    #[test]
    fn a_look_that_was_lost_is_asked_for_again() {
        let known = |pending| Known {
            key: "a.md".into(),
            row: Some(Row { pending, ..row(ObjectState::Taken, Some("1"), Some(OWN)) }),
            holder: Some(holder(OWN)),
        };
        assert!(!differs("1", &known(false), true, "s"));
        assert!(differs("1", &known(true), true, "s"));
        assert!(differs("1", &known(false), false, "s"));
        assert!(differs("2", &known(false), true, "s"));
    }
}
