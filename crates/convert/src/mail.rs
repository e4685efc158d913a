//! E-mail: who, when, about what, and what is said. Attachments are named.

use crate::{Converted, Limits, Refusal, html, markdown};
use encoding_rs::WINDOWS_1252;
use mail_parser::{Address, Message, MessageParser, MimeHeaders, PartType};
use std::io::{Cursor, Read};

/// Messages that a mail may hold: they may be within each other, and so is what is made of them.
const MOST_MESSAGES: usize = 200;

/// What both formats have.
#[derive(Default)]
struct Mail {
    subject: String,
    from: String,
    to: String,
    date: String,
    body: String,
    attachments: Vec<String>,
}

impl Mail {
    fn converted(self) -> Converted {
        let subject = markdown::line(&self.subject);
        let mut out = markdown::heading(1, "Email Message");
        for (name, value) in
            [("From", &self.from), ("To", &self.to), ("Date", &self.date), ("Subject", &subject)]
        {
            if !value.trim().is_empty() {
                out.push_str(&format!("**{name}:** {}  \n", markdown::line(value)));
            }
        }
        if !self.attachments.is_empty() {
            out.push_str(&format!("**Attachments:** {}  \n", markdown::line(&self.attachments.join(", "))));
        }
        let said = !self.body.trim().is_empty();
        if said {
            // Its first line may be indented.
            out.push_str(&format!("\n## Content\n\n{}\n", self.body.trim_end().trim_start_matches('\n')));
        }
        let empty = !said && subject.is_empty();
        let text = if empty { String::new() } else { out };
        Converted { title: Some(subject).filter(|subject| !subject.is_empty()), ..Converted::text(text) }
    }
}

fn addresses(address: Option<&Address<'_>>) -> String {
    let one = |found: &mail_parser::Addr<'_>| match (found.name(), found.address()) {
        (Some(name), Some(address)) => format!("{address} ({name})"),
        (name, address) => name.or(address).unwrap_or_default().to_owned(),
    };
    address.map(|address| address.iter().map(one).collect::<Vec<_>>().join(", ")).unwrap_or_default()
}

/// As it was sent.
pub(crate) fn eml(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let holds = |at: usize| {
        let kind =
            |name: &[u8]| bytes.get(at..at + name.len()).is_some_and(|it| it.eq_ignore_ascii_case(name));
        kind(b"/rfc822") || kind(b"/digest") || kind(b"/global")
    };
    if memchr::memchr_iter(b'/', bytes).filter(|at| holds(*at)).nth(MOST_MESSAGES).is_some() {
        return Err(Refusal::TooLarge { what: "messages within a message", allowed: MOST_MESSAGES as u64 });
    }
    let message = MessageParser::default()
        .parse(bytes)
        .ok_or_else(|| Refusal::broken("e-mail", "it has no headers"))?;
    if message.parts.len() > limits.nodes {
        return Err(Refusal::too_many_nodes(limits));
    }
    let body = match body(&message, &message.text_body, limits) {
        text if text.trim().is_empty() => body(&message, &message.html_body, limits),
        text => text,
    };
    let name = |part: &mail_parser::MessagePart<'_>| part.attachment_name().unwrap_or("unnamed").to_owned();
    let mail = Mail {
        subject: message.subject().unwrap_or_default().to_owned(),
        from: addresses(message.from()),
        to: addresses(message.to()),
        date: message.date().map(mail_parser::DateTime::to_rfc3339).unwrap_or_default(),
        body,
        attachments: message.attachments().map(name).collect(),
    };
    Ok(mail.converted())
}

/// What is said in some parts of a message. The parser lists a part both as text and as HTML where there is only one of them, and
/// pictures that stand between texts.
fn body(message: &Message<'_>, parts: &[u32], limits: &Limits) -> String {
    let texts = parts.iter().filter_map(|part| match &message.part(*part)?.body {
        PartType::Html(page) => Some(html::fragment(page, limits)),
        PartType::Text(text) => Some(markdown::literal(text)),
        _ => None,
    });
    texts.collect::<Vec<_>>().join("\n")
}

/// As Outlook stores it ([MS-OXMSG]): streams of a compound file, named after the property they hold.
pub(crate) fn msg(bytes: &[u8], limits: &Limits) -> Result<Converted, Refusal> {
    let broken = |error: std::io::Error| Refusal::broken("Outlook mail", error);
    let mut file = cfb::CompoundFile::open(Cursor::new(bytes)).map_err(broken)?;
    let mut left = limits.unpacked;
    let mut stream = |path: String| -> Result<Option<Vec<u8>>, Refusal> {
        if !file.is_stream(&path) {
            return Ok(None);
        }
        let mut read = Vec::new();
        file.open_stream(&path).map_err(broken)?.take(left + 1).read_to_end(&mut read).map_err(broken)?;
        left = left
            .checked_sub(read.len() as u64)
            .ok_or(Refusal::TooLarge { what: "unpacked bytes", allowed: limits.unpacked })?;
        Ok(Some(read))
    };
    // Type 001F is UTF-16, 001E an older encoding, 0102 bytes.
    let mut property = |folder: &str, tag: &str| -> Result<String, Refusal> {
        if let Some(bytes) = stream(format!("{folder}/__substg1.0_{tag}001F"))? {
            return Ok(encoding_rs::UTF_16LE.decode_without_bom_handling(&bytes).0.into_owned());
        }
        let older = stream(format!("{folder}/__substg1.0_{tag}001E"))?;
        let older = match older {
            None => stream(format!("{folder}/__substg1.0_{tag}0102"))?,
            older => older,
        };
        Ok(older.map_or_else(String::new, |bytes| match String::from_utf8(bytes) {
            Ok(text) => text,
            Err(error) => WINDOWS_1252.decode_without_bom_handling(error.as_bytes()).0.into_owned(),
        }))
    };
    let mut mail = Mail { subject: property("", "0037")?, to: property("", "0E04")?, ..Mail::default() };
    let (name, smtp, address) = (property("", "0C1A")?, property("", "5D01")?, property("", "0C1F")?);
    let address = if smtp.trim().is_empty() { address } else { smtp };
    mail.from = match (name.trim(), address.trim()) {
        (name, "") => name.to_owned(),
        ("", address) => address.to_owned(),
        (name, address) if name == address => address.to_owned(),
        (name, address) => format!("{address} ({name})"),
    };
    let headers = property("", "007D")?;
    if let Some(message) = MessageParser::default().parse(headers.as_bytes()) {
        mail.date = message.date().map(mail_parser::DateTime::to_rfc3339).unwrap_or_default();
    }
    mail.body = markdown::literal(&property("", "1000")?);
    if mail.body.trim().is_empty() {
        mail.body = html::fragment(&property("", "1013")?, limits);
    }
    for at in 0..100 {
        let folder = format!("/__attach_version1.0_#{at:08X}");
        let name = match property(&folder, "3707")? {
            name if name.trim().is_empty() => property(&folder, "3704")?,
            name => name,
        };
        if name.trim().is_empty() {
            break;
        }
        mail.attachments.push(name);
    }
    // Who wrote to whom is not what was said.
    if mail.body.trim().is_empty() && file.is_stream("/__substg1.0_10090102") {
        return Err(Refusal::Unsupported("a mail with its text as RTF only; save it as EML: it".into()));
    }
    Ok(mail.converted())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_read_with_its_headers() {
        let mail = b"From: Ada <ada@a.example>\r\nTo: b@b.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\
            Date: Tue, 1 Jul 2025 10:00:00 +0200\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<p>Hello <b>you</b></p>";
        let converted = eml(mail, &Limits::default()).unwrap();
        assert_eq!(converted.title.as_deref(), Some("Grüße"));
        assert!(converted.text.contains("**From:** ada@a.example (Ada)"), "{}", converted.text);
        assert!(
            converted.text.contains("2025-07-01T10:00:00+02:00")
                && converted.text.ends_with("## Content\n\nHello **you**\n")
        );
    }

    fn content(mail: &str) -> String {
        let text = eml(mail.as_bytes(), &Limits::default()).unwrap().text;
        text.split_once("## Content\n\n").unwrap().1.to_owned()
    }

    #[test]
    fn plain_text_stays_as_it_is() {
        let text = "See https://x.example/?id=1&timestamp=2&copy=3\r\n\r\n    if snake_case < 2:\r\n\r\nAda\r\n-- \r\n# Ada\r\n";
        assert_eq!(
            content(&format!("Subject: s\r\n\r\n{text}")),
            "See https://x.example/?id=1&timestamp=2&copy=3\n\n    if snake_case < 2:\n\nAda\n\\-- \n\\# Ada\n"
        );
    }

    #[test]
    fn every_text_of_a_mail_is_read() {
        let mixed = |parts: &[&str]| {
            let parts: String = parts.iter().map(|part| format!("--x\r\nContent-Type: {part}\r\n")).collect();
            content(&format!(
                "Subject: s\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n{parts}--x--\r\n"
            ))
        };
        let (one, two) = ("text/plain\r\n\r\nOne\r\n", "text/plain\r\n\r\nTwo");
        let picture = "image/png\r\nContent-Disposition: inline\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=";
        let page = "text/html\r\n\r\n<p>A <b>page</b></p>";
        assert_eq!(mixed(&[one, picture, two]), "One\n\nTwo\n");
        assert_eq!(mixed(&[picture, two]), "Two\n");
        assert_eq!(mixed(&[two, page]), "Two\n\nA **page**\n");
        let other = "multipart/alternative; boundary=y\r\n\r\n--y\r\nContent-Type: text/plain\r\n\r\n \r\n--y\r\n\
             Content-Type: text/html\r\n\r\n<p>Only here</p>\r\n--y--\r\n";
        assert_eq!(mixed(&[other]), "Only here\n");
    }

    #[test]
    fn a_mail_in_rtf_is_not_taken_for_an_empty_one() {
        let outlook = |streams: &[(&str, &[u8])]| {
            let mut file = cfb::CompoundFile::create(Cursor::new(Vec::new())).unwrap();
            for (name, bytes) in streams {
                let mut stream = file.create_stream(format!("/__substg1.0_{name}")).unwrap();
                std::io::Write::write_all(&mut stream, bytes).unwrap();
            }
            file.flush().unwrap();
            msg(&file.into_inner().into_inner(), &Limits::default())
        };
        let subject = ("0037001E", &b"Coal"[..]);
        let refusal = outlook(&[subject, ("10090102", b"packed")]).unwrap_err();
        assert_eq!(
            (refusal.code(), refusal.to_string().as_str()),
            ("unsupported_type", "a mail with its text as RTF only; save it as EML: it can't be read")
        );
        assert!(outlook(&[subject]).unwrap().text.contains("Coal"));
        let text =
            outlook(&[subject, ("10090102", b"packed"), ("1000001E", b"words\r\n# here")]).unwrap().text;
        assert!(text.ends_with("\n\nwords\n\\# here\n"), "{text}");
    }
}
