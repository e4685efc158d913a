//! What a write requires of the document as it is: `If-Match`, `If-None-Match`.

use crate::http::ApiError;
use ragflare_core::document::Generation;
use ragflare_core::ingest::Precondition;
use worker::Request;

/// The request's precondition: `If-Match: "3"`, a list of such, or `*`; or `If-None-Match: *`.
///
/// # Errors
/// 400 naming the header.
pub fn precondition(request: &Request) -> Result<Precondition, ApiError> {
    let headers = request.headers();
    parse(headers.get("if-match")?.as_deref(), headers.get("if-none-match")?.as_deref())
}

fn parse(matching: Option<&str>, none_matching: Option<&str>) -> Result<Precondition, ApiError> {
    match (matching.map(str::trim), none_matching.map(str::trim)) {
        (None, None) => Ok(Precondition::None),
        (Some("*"), None) => Ok(Precondition::Exists),
        (None, Some("*")) => Ok(Precondition::Absent),
        (Some(tags), None) => {
            let tags: Option<Vec<Generation>> = tags.split(',').map(generation).collect();
            tags.map(Precondition::Current).ok_or_else(|| {
                let message = "must be `*` or generations, such as `\"3\"` or `\"3\", \"4\"`; not a weak tag";
                malformed("If-Match", message)
            })
        }
        (None, Some(_)) => Err(malformed("If-None-Match", "must be `*`: only if there is no such document")),
        (Some(_), Some(_)) => Err(malformed("If-None-Match", "can't be combined with If-Match")),
    }
}

/// `"3"`, or 3 as people type it.
fn generation(tag: &str) -> Option<Generation> {
    let tag = tag.trim();
    let digits = tag.strip_prefix('"').map_or(Some(tag), |rest| rest.strip_suffix('"'))?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

fn malformed(header: &str, message: &str) -> ApiError {
    ApiError {
        param: Some(header.to_owned()),
        ..ApiError::new(400, "invalid_value", format!("{header} {message}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_required_is_read_from_the_headers() {
        let matching = |tags| parse(Some(tags), None).ok();
        assert_eq!(parse(None, None), Ok(Precondition::None));
        assert_eq!(matching("*"), Some(Precondition::Exists));
        for tags in ["\"3\"", "3", " \"3\" "] {
            assert_eq!(matching(tags), Some(Precondition::Current(vec![3])), "{tags}");
        }
        assert_eq!(matching("\"3\",\"12\" , 7"), Some(Precondition::Current(vec![3, 12, 7])));
        assert_eq!(parse(None, Some("*")), Ok(Precondition::Absent));
    }

    #[test]
    fn what_can_not_be_meant_is_refused_by_the_headers_name() {
        for tags in ["", "\"3", "3\"", "W/\"3\"", "\"x\"", "\"\"", "3,", "*, 3", "-1", "+3", "1e3"] {
            let error = parse(Some(tags), None).unwrap_err();
            assert_eq!((error.status, error.param.as_deref()), (400, Some("If-Match")), "{tags}");
        }
        assert_eq!(parse(None, Some("\"3\"")).unwrap_err().param.as_deref(), Some("If-None-Match"));
        assert_eq!(parse(Some("*"), Some("*")).unwrap_err().status, 400);
    }
}
