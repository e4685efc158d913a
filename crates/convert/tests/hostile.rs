//! Files made to break a reader, and broken ones: each is refused or read, within bounds of time and memory and with a stack as
//! small as a worker's. Every file is made here.

#![allow(clippy::unwrap_used, clippy::format_push_string, clippy::large_stack_arrays)]

#[path = "../../core/tests/promises/clock.rs"]
mod clock;
mod made;
#[path = "made/memory.rs"]
mod memory;

use clock::Clock;
use made::{
    archive, deflated, docx, encrypted_pdf, epub, ods, one_of_each, pages, pdf, small_pdf, stream, workbook,
    xlsx,
};
use ragflare_convert::{Converted, Kind, Limits, Refusal, convert, detect};
use std::io::Write;
use std::time::Duration;

/// Less than the 1 MiB that WebAssembly has.
const STACK: usize = 512 * 1024;
/// Twice over what the slowest takes without optimization; what takes the square of a file's length takes minutes.
const LONGEST: Duration = Duration::from_secs(20);

/// Less than what a worker of 128 MB has beside the file itself.
const MOST: usize = 96 << 20;

/// Converts on a small stack; a name is all that is said of the file.
fn read(name: &str, bytes: Vec<u8>) -> Result<Converted, Refusal> {
    let name = name.to_owned();
    let work = move || {
        let clock = Clock::start();
        let result =
            detect("", &name, &bytes).and_then(|kind| convert(bytes, kind, None, &Limits::default()));
        (result, clock.elapsed(), memory::most())
    };
    let thread = std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap();
    let (result, time, memory) = thread.join().expect("no panic");
    assert!(time < LONGEST, "{time:?}");
    assert!(memory < MOST, "{memory} bytes");
    if let Ok(converted) = &result {
        assert!(converted.text.len() <= Limits::default().text);
        assert!(converted.places.is_sorted_by_key(|place| place.at));
        assert!(converted.places.iter().all(|place| converted.text.is_char_boundary(place.at as usize)));
    }
    result
}

fn code(name: &str, bytes: Vec<u8>) -> &'static str {
    read(name, bytes).map_or_else(|refusal| refusal.code(), |_| "read")
}

/// Numbers that look random and are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 16).unwrap_or(0) % end.max(1)
    }
}

#[test]
fn each_format_is_read() {
    for (name, bytes) in one_of_each() {
        assert_eq!(code(name, bytes), "read", "{name}");
    }
}

#[test]
fn what_is_cut_or_changed_breaks_nothing() {
    let mut random = Random(0x5EED_1234_ABCD);
    for (name, bytes) in one_of_each() {
        for round in 0..60 {
            let mut changed = bytes.clone();
            if round % 3 == 0 {
                changed.truncate(random.below(bytes.len()));
            }
            for _ in 0..if round % 3 == 0 { 0 } else { 1 + random.below(8) } {
                let at = random.below(changed.len());
                changed[at] = random.below(256) as u8;
            }
            // Whatever comes of it, it comes without a panic and within the limits.
            let _ = read(name, changed);
        }
    }
}

#[test]
fn changed_parts_of_archives_break_nothing() {
    let mut random = Random(0xBEEF_1234_5678);
    let document = "<w:p><w:pPr><w:numPr><w:ilvl w:val='1'/><w:numId w:val='2'/></w:numPr></w:pPr><w:r><w:t>Words</w:t></w:r></w:p>";
    let rows = "<row r='1'><c r='A1' t='inlineStr'><is><t>x</t></is></c></row><row r='5'><c r='C5' s='1'><v>2.5</v></c></row>";
    for round in 0..150 {
        let text = if round % 2 == 0 { document } else { rows };
        let mut changed = text.as_bytes().to_vec();
        for _ in 0..=random.below(4) {
            let at = random.below(changed.len());
            changed[at] = 32 + random.below(95) as u8;
        }
        let changed = String::from_utf8(changed).unwrap();
        let _ = if round % 2 == 0 { read("a.docx", docx(&changed)) } else { read("a.xlsx", xlsx(&changed)) };
    }
}

#[test]
fn archives_unfold_only_so_far() {
    let zeros = vec![b' '; 49 << 20];
    assert_eq!(code("a.docx", archive(&[("word/document.xml", &zeros)])), "too_large_expanded");
    assert_eq!(
        code("a.xlsx", archive(&[("xl/workbook.xml", b"<workbook/>"), ("xl/sharedStrings.xml", &zeros)])),
        "too_large_expanded"
    );
    // Archives in archives stay what they are.
    let inner = archive(&[("0", &zeros[..1 << 20])]);
    assert_eq!(code("a.zip", archive(&[("a.zip", &inner)])), "unsupported_type");
    let names: Vec<String> = (0..30_000).map(|at| format!("word/{at}")).collect();
    let parts: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b""[..])).collect();
    assert_eq!(code("a.docx", archive(&parts)), "too_large_expanded");
    // Paths that lead out of it are names like others.
    let document =
        b"<w:document xmlns:w='w'><w:body><w:p><w:r><w:t>x</w:t></w:r></w:p></w:body></w:document>";
    assert_eq!(
        code(
            "a.docx",
            archive(&[("../../../etc/passwd", b"x"), ("word/document.xml", document), ("/word/../x", b"")])
        ),
        "read"
    );
}

#[test]
fn entries_that_share_their_bytes_unfold_only_so_far() {
    // The directory lists the same entry again and again under other names.
    let zeros = vec![b' '; 4 << 20];
    let bytes = archive(&[("xl/workbook.xml", b"<workbook/>"), ("xl/s00.xml", &zeros)]);
    let directory = memchr::memmem::rfind(&bytes, b"PK\x01\x02").unwrap();
    let begin = memchr::memmem::find(&bytes, b"PK\x01\x02").unwrap();
    let end = memchr::memmem::rfind(&bytes, b"PK\x05\x06").unwrap();
    let entry = &bytes[directory..end];
    let mut out = bytes[..directory].to_vec();
    for at in 0..99_u8 {
        let mut copy = entry.to_vec();
        let name = memchr::memmem::find(&copy, b"s00").unwrap();
        copy[name + 1..name + 3].copy_from_slice(format!("{at:02}").as_bytes());
        out.extend(copy);
    }
    let length = out.len() - begin;
    let mut tail = bytes[end..].to_vec();
    tail[8..10].copy_from_slice(&100_u16.to_le_bytes());
    tail[10..12].copy_from_slice(&100_u16.to_le_bytes());
    tail[12..16].copy_from_slice(&(length as u32).to_le_bytes());
    out.extend(tail);
    assert_eq!(code("a.xlsx", out), "too_large_expanded");
}

#[test]
fn depth_is_no_danger() {
    let deep = |open: &str, count: usize| open.repeat(count);
    for tag in ["<div>", "<b>", "<table><tr><td>", "<ul><li>", "<blockquote>", "<a href=x>", "<svg><g>"] {
        let page = format!("<html><body>words{}more", deep(tag, 100_000));
        assert!(read("a.html", page.into_bytes()).unwrap().text.contains("words"), "{tag}");
        for count in [150, 190, 600, 1900] {
            let page = format!("<html><body>words{}more", deep(tag, count));
            assert!(read("a.html", page.into_bytes()).unwrap().text.contains("more"), "{tag} {count}");
        }
    }
    assert_eq!(code("a.xml", deep("<a>", 100_000).into_bytes()), "too_large_expanded");
    assert_eq!(code("a.xml", format!("{}x{}", deep("<a>", 199), deep("</a>", 199)).into_bytes()), "read");
    assert_eq!(code("a.json", deep("[", 100_000).into_bytes()), "unreadable");
    assert_eq!(code("a.json", format!("{}1{}", deep("{\"a\":[", 60), deep("]}", 60)).into_bytes()), "read");
    assert_eq!(code("a.docx", docx(&deep("<w:sdt><w:sdtContent>", 50_000))), "too_large_expanded");
    assert_eq!(
        code(
            "a.docx",
            docx(&format!("{}<w:p><w:r><w:t>x</w:t></w:r></w:p>", deep("<w:tbl><w:tr><w:tc>", 60)))
        ),
        "read"
    );
    assert_eq!(code("a.epub", epub(&deep("<div>", 100_000))), "no_text");
    let mut mail = String::new();
    for at in 0..10_000 {
        mail.push_str(&format!("Content-Type: multipart/mixed; boundary=b{at}\r\n\r\n--b{at}\r\n"));
    }
    let _ = read("a.eml", format!("From: a@a.example\r\nSubject: x\r\n{mail}\r\nwords").into_bytes());
    let mail = "Content-Type: message/rfc822\r\n\r\nFrom: a@a.example\r\n".repeat(10_000);
    let _ = read("a.eml", format!("Subject: x\r\n{mail}\r\nwords").into_bytes());
}

#[test]
fn entities_stand_as_they_are() {
    let mut bomb = String::from("<!DOCTYPE a [<!ENTITY e0 \"ha\">");
    for at in 1..30 {
        bomb.push_str(&format!("<!ENTITY e{at} \"{}\">", format!("&e{};", at - 1).repeat(10)));
    }
    bomb.push_str("]><a>&e29;</a>");
    assert!(read("a.xml", bomb.clone().into_bytes()).unwrap().text.contains("&e29;"));
    assert_eq!(code("a.docx", archive(&[("word/document.xml", bomb.as_bytes())])), "unreadable");
    let outside = "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>";
    assert!(read("a.xml", outside.into()).unwrap().text.contains("&x;"));
}

#[test]
fn sheets_are_as_large_as_their_cells() {
    let far = "<row r='1'><c r='A1'><v>1</v></c></row><row r='1048576'><c r='XFD1048576'><v>2</v></c></row>";
    let converted = read("a.xlsx", xlsx(far)).unwrap();
    assert_eq!(converted.text, "## Prices\n\n| 1 |  |\n| --- | --- |\n|  | 2 |\n\n");
    let rows: Vec<_> = converted.places.iter().map(|place| (place.page, place.row)).collect();
    assert_eq!(rows, [(Some(1), None), (Some(1), Some(1)), (Some(1), Some(1_048_576))]);
    let cells = "<t:table-row t:number-rows-repeated='1048576'><t:table-cell t:number-columns-repeated='16384'><p>x</p></t:table-cell></t:table-row>";
    assert_eq!(code("a.ods", ods(cells)), "too_large_expanded");
    let empty = "<t:table-row><t:table-cell><p>x</p></t:table-cell></t:table-row>\
                 <t:table-row t:number-rows-repeated='1048575'><t:table-cell t:number-columns-repeated='16384'/></t:table-row>";
    assert_eq!(code("a.ods", ods(empty)), "read");
    // One text in many cells.
    let cell = format!(
        "<t:table-cell t:number-columns-repeated='200'><p>{}</p></t:table-cell>",
        "x".repeat(1 << 20)
    );
    assert_eq!(code("a.ods", ods(&format!("<t:table-row>{cell}</t:table-row>"))), "too_large_expanded");
    let text = "x".repeat(32_000);
    let rows = |count: usize| -> String {
        (1..count).map(|row| format!("<row r='{row}'><c r='A{row}' t='s'><v>0</v></c></row>")).collect()
    };
    let one = ["worksheets/sheet1.xml"];
    assert_eq!(code("a.xlsx", workbook(&rows(2000), &text, &one)), "too_large_expanded");
    assert_eq!(code("a.xlsx", workbook(&rows(100), &text, &one)), "read");
    // Lines of a text that is indented.
    let lines = format!("{}{{\"a\": \"x{}x\"}}{}", "[[".repeat(20), "\\n".repeat(2 << 20), "]]".repeat(20));
    assert_eq!(code("a.json", lines.into_bytes()), "too_large_expanded");
    // One sheet under many names.
    let twice = ["worksheets/sheet1.xml"; 2];
    assert_eq!(code("a.xlsx", workbook(&rows(2), "x", &twice[..1])), "read");
    assert_eq!(code("a.xlsx", workbook(&rows(2), "x", &twice)), "unreadable");
    let long = format!("a,b\n\"{}\",2\n", "x".repeat(8 << 20));
    assert_eq!(code("a.csv", long.into_bytes()), "read");
    assert_eq!(code("a.csv", ",".repeat(8 << 20).into_bytes()), "too_large_expanded");
}

#[test]
fn pages_of_a_pdf_are_told() {
    let converted = read("a.pdf", small_pdf()).unwrap();
    for page in 1..=3_u32 {
        let at = converted.text.find(&format!("# Heading {page}")).unwrap();
        assert_eq!(converted.place(at).unwrap().page, Some(page), "{}", converted.text);
    }
    assert!(converted.text.contains("one and is divided at its end, so"), "{}", converted.text);
}

#[test]
fn an_index_that_is_wrong_is_not_believed() {
    let mut bytes = small_pdf();
    let table = memchr::memmem::rfind(&bytes, b"xref\n0 ").unwrap();
    for at in (table..bytes.len()).filter(|at| at % 7 == 3) {
        if bytes[at].is_ascii_digit() {
            bytes[at] = b'0' + (bytes[at] - b'0' + 3) % 10;
        }
    }
    assert!(read("a.pdf", bytes).unwrap().text.contains("# Heading 3"));
}

#[test]
fn slides_and_remarks_are_told() {
    let relations = |targets: &[&str]| {
        let one = |(at, target): (usize, &&str)| format!("<Relationship Id='r{at}' Target='{target}'/>");
        format!("<Relationships>{}</Relationships>", targets.iter().enumerate().map(one).collect::<String>())
    };
    let slide = |title: &str| {
        format!(
            "<p:sld xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr><p:ph type='title'/></p:nvPr></p:nvSpPr>\
             <p:txBody><a:p><a:r><a:t>{title}</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>"
        )
    };
    let bytes = archive(&[
        ("ppt/presentation.xml", b"<p:presentation xmlns:p='p' xmlns:r='r'><p:sldIdLst><p:sldId r:id='r0'/><p:sldId r:id='r1'/></p:sldIdLst></p:presentation>"),
        ("ppt/_rels/presentation.xml.rels", relations(&["slides/slide1.xml", "slides/slide2.xml"]).as_bytes()),
        ("ppt/slides/slide1.xml", slide("Plans").as_bytes()),
        ("ppt/slides/slide2.xml", slide("Costs").as_bytes()),
        ("ppt/slides/_rels/slide2.xml.rels", relations(&["../comments/comment1.xml"]).as_bytes()),
        ("ppt/commentAuthors.xml", b"<p:cmAuthorLst xmlns:p='p'><p:cmAuthor id='0' name='Ada'/></p:cmAuthorLst>"),
        ("ppt/comments/comment1.xml", b"<p:cmLst xmlns:p='p'><p:cm authorId='0'><p:text>Too dear</p:text></p:cm></p:cmLst>"),
    ]);
    let converted = read("a.pptx", bytes).unwrap();
    assert_eq!(
        converted.text,
        "## Slide 1: Plans\n\n## Slide 2: Costs\n\n### Comments\n\n- Ada: Too dear\n\n"
    );
    let at = converted.text.find("Too dear").unwrap();
    assert_eq!(converted.place(at).unwrap().page, Some(2));
}

#[test]
fn charts_of_a_document_are_their_tables() {
    let body = "<w:p><w:r><w:t>See</w:t></w:r><w:r><w:drawing><c:chart r:id='r0'/></w:drawing></w:r></w:p>";
    let document =
        format!("<w:document xmlns:w='w' xmlns:c='c' xmlns:r='r'><w:body>{body}</w:body></w:document>");
    let series = "<c:ser><c:tx><c:pt><c:v>Sales</c:v></c:pt></c:tx><c:cat><c:pt><c:v>May</c:v></c:pt></c:cat><c:val><c:pt><c:v>7</c:v></c:pt></c:val></c:ser>";
    let bytes = archive(&[
        ("word/document.xml", document.as_bytes()),
        (
            "word/_rels/document.xml.rels",
            b"<Relationships><Relationship Id='r0' Target='charts/chart1.xml'/></Relationships>",
        ),
        ("word/charts/chart1.xml", format!("<c:chartSpace xmlns:c='c'>{series}</c:chartSpace>").as_bytes()),
    ]);
    let text = read("a.docx", bytes).unwrap().text;
    assert!(text.contains("| Category | Sales |\n| --- | --- |\n| May | 7 |"), "{text}");
}

#[test]
fn streams_of_a_pdf_unfold_only_so_far() {
    let bomb = deflated(&vec![b' '; 64 << 20]);
    let one = |dictionary: &str, data: &[u8]| pages(&[stream(dictionary, data)]);
    assert_eq!(code("a.pdf", one("/Filter /FlateDecode", &bomb)), "too_large_expanded");
    // A bomb in a bomb.
    assert_eq!(
        code("a.pdf", one("/Filter [/FlateDecode /FlateDecode]", &deflated(&bomb))),
        "too_large_expanded"
    );
    assert_eq!(code("a.pdf", one("/Filter [/RunLengthDecode /FlateDecode]", &bomb)), "no_text");
    // The same stream a thousand times.
    let small = deflated(&[b' '; 1 << 20]);
    let again = "5 0 R ".repeat(1000);
    let objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_vec(),
        b"null".to_vec(),
        format!("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents [{again}] >>").into_bytes(),
        stream("/Filter /FlateDecode", &small),
    ];
    assert_eq!(code("a.pdf", pdf(&objects)), "too_large_expanded");
    // Objects in a bomb, and more of them than there can be.
    for (dictionary, said) in [
        ("/Type /ObjStm /N 10 /First 100 /Filter /FlateDecode", "unpacked bytes"),
        ("/Type /ObjStm /N 99999999999999 /First 1 /Filter /FlateDecode", "out of all measure"),
    ] {
        let mut objects = vec![
            b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
            b"<< /Type /Pages /Kids [] /Count 0 >>".to_vec(),
        ];
        objects.push(stream(dictionary, &bomb));
        let refusal = read("a.pdf", pdf(&objects)).unwrap_err().to_string();
        assert!(refusal.contains(said), "{refusal}");
    }
}

#[test]
fn loops_in_a_pdf_end() {
    let catalog = b"<< /Type /Catalog /Pages 2 0 R >>".to_vec();
    let to_itself = b"<< /Type /Pages /Kids [2 0 R 2 0 R 2 0 R] /Count 3 >>".to_vec();
    assert_ne!(code("a.pdf", pdf(&[catalog.clone(), to_itself])), "read");
    // Forms that draw each other, twice each.
    let form = |next: u32| {
        let dictionary = format!(
            "/Type /XObject /Subtype /Form /BBox [0 0 9 9] /Resources << /XObject << /X {next} 0 R >> >>"
        );
        stream(&dictionary, b"/X Do /X Do")
    };
    let mut objects = vec![catalog.clone(), b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>".to_vec()];
    objects.push(b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 9 9] /Contents 4 0 R /Resources << /XObject << /X 5 0 R >> >> >>".to_vec());
    objects.push(stream("", b"/X Do"));
    objects.extend((6..46).map(form));
    objects.push(form(5));
    assert_ne!(code("a.pdf", pdf(&objects)), "read");
    let deep = format!("<< /Type /Pages /Kids {} /Count 1 >>", "[".repeat(100_000));
    assert_ne!(code("a.pdf", pdf(&[catalog.clone(), deep.into_bytes()])), "read");
    let deep = stream("", "<< /A ".repeat(100_000).as_bytes());
    assert_ne!(code("a.pdf", pages(&[deep])), "read");
    // Pages far below each other.
    let mut objects = vec![catalog];
    objects
        .extend((3..5000).map(|kid| format!("<< /Type /Pages /Kids [{kid} 0 R] /Count 1 >>").into_bytes()));
    assert_ne!(code("a.pdf", pdf(&objects)), "read");
}

#[test]
fn what_has_no_text_is_said_plainly() {
    let picture = stream("", b"q 600 0 0 800 0 0 cm /I Do Q");
    let refusal = read("scan.pdf", pages(&[picture])).unwrap_err();
    assert_eq!(refusal.code(), "no_text");
    assert!(refusal.to_string().contains("there is no text in them"), "{refusal}");
    for name in ["a.txt", "a.md", "a.html", "a.csv", "a.json", "a.pdf", "a.docx"] {
        assert_eq!(code(name, Vec::new()), "no_text", "{name}");
        assert_eq!(code(name, b" \n\t\r\n ".to_vec()), "no_text", "{name}");
    }
    assert_eq!(code("a.docx", docx("<w:p/>")), "no_text");
    assert_eq!(code("a.html", b"<html><body><script>x()</script></body></html>".to_vec()), "no_text");
}

#[test]
fn names_do_not_make_formats() {
    assert_eq!(code("a.pdf", b"words".to_vec()), "unreadable");
    assert_eq!(code("a.txt", small_pdf()), "read");
    assert_eq!(code("a.docx", small_pdf()), "read");
    assert_eq!(code("a.pdf", docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>")), "read");
    assert_eq!(code("a.txt", b"\x89PNG\r\n\x1a\n".to_vec()), "unsupported_type");
    assert_eq!(detect("", "a.bin", b"words").unwrap(), Kind::Plain);
}

#[test]
fn what_is_encrypted_is_said_to_be() {
    let mut file = cfb::CompoundFile::create(std::io::Cursor::new(Vec::new())).unwrap();
    file.create_stream("/EncryptedPackage").unwrap().write_all(b"secret").unwrap();
    file.create_stream("/EncryptionInfo").unwrap().write_all(b"info").unwrap();
    file.flush().unwrap();
    assert_eq!(code("a.docx", file.into_inner().into_inner()), "encrypted");
    for (user, wanted) in [("secret", "encrypted"), ("", "read")] {
        assert_eq!(code("a.pdf", encrypted_pdf(user)), wanted, "password `{user}`");
    }
}

#[test]
fn what_a_document_says_again_is_counted() {
    let long = format!("<w:p><w:r><w:t>{}</w:t></w:r></w:p>", "x".repeat(1 << 20));
    let merged = "<w:tr><w:tc><w:tcPr><w:vMerge/></w:tcPr></w:tc></w:tr>".repeat(50_000);
    let table = format!(
        "<w:tbl><w:tr><w:tc><w:tcPr><w:vMerge w:val='restart'/></w:tcPr>{long}</w:tc></w:tr>{merged}</w:tbl>"
    );
    assert_eq!(code("a.docx", docx(&table)), "too_large_expanded");
    let wide = "<w:tc><w:tcPr><w:gridSpan w:val='64'/></w:tcPr></w:tc>".repeat(100_000);
    assert_eq!(code("a.docx", docx(&format!("<w:tbl><w:tr>{wide}</w:tr></w:tbl>"))), "too_large_expanded");
    // One wide row and many short ones.
    let cell = "<w:tc><w:p><w:r><w:t>x</w:t></w:r></w:p></w:tc>";
    let ragged =
        format!("<w:tr>{}</w:tr>{}", cell.repeat(20_000), format!("<w:tr>{cell}</w:tr>").repeat(20_000));
    assert_eq!(code("a.docx", docx(&format!("<w:tbl>{ragged}</w:tbl>"))), "read");
    let parts = |body: &str, relation: &str, part: (&str, &str)| {
        let document = format!("<w:document xmlns:w='w'><w:body><w:p>{body}</w:p></w:body></w:document>");
        let relations = format!("<Relationships><Relationship Id='r0' {relation}/></Relationships>");
        archive(&[
            ("word/document.xml", document.as_bytes()),
            ("word/_rels/document.xml.rels", relations.as_bytes()),
            (part.0, part.1.as_bytes()),
        ])
    };
    let x = "x".repeat(1 << 20);
    let link = "<w:hyperlink w:id='r0'><w:r><w:t>x</w:t></w:r></w:hyperlink>".repeat(20_000);
    let target = format!("TargetMode='External' Target='https://{x}'");
    assert_eq!(code("a.docx", parts(&link, &target, ("x", ""))), "too_large_expanded");
    let chart = "<w:r><w:drawing><w:chart w:id='r0'/></w:drawing></w:r>".repeat(20_000);
    let series = format!("<c><ser><tx><pt><v>{x}</v></pt></tx><val><pt><v>7</v></pt></val></ser></c>");
    let bytes = parts(&chart, "Target='charts/chart1.xml'", ("word/charts/chart1.xml", &series));
    assert_eq!(code("a.docx", bytes), "too_large_expanded");
    // A note is written once, however often it is referred to.
    let references = "<w:r><w:footnoteReference w:id='7'/></w:r>".repeat(20_000);
    let notes = format!("<w:footnotes xmlns:w='w'><w:footnote w:id='7'>{long}</w:footnote></w:footnotes>");
    let text = read("a.docx", parts(&references, "Target='x'", ("word/footnotes.xml", &notes))).unwrap().text;
    assert!(text.starts_with("[^1][^1]") && text.matches("[^1]: x").count() == 1 && text.len() < 2 << 20);
}

#[test]
fn notes_of_a_document_are_found_by_their_ids() {
    let note =
        |at: usize| format!("<w:footnote w:id='{at}'><w:p><w:r><w:t>n{at}</w:t></w:r></w:p></w:footnote>");
    let reference = |at: usize| format!("<w:r><w:footnoteReference w:id='{at}'/></w:r>");
    let notes: String = (0..60_000).map(note).collect();
    let document: String = (0..60_000).rev().map(reference).collect();
    let document = format!("<w:document xmlns:w='w'><w:body><w:p>{document}</w:p></w:body></w:document>");
    let notes = format!("<w:footnotes xmlns:w='w'>{notes}</w:footnotes>");
    let parts = [("word/document.xml", document.as_bytes()), ("word/footnotes.xml", notes.as_bytes())];
    let text = read("a.docx", archive(&parts)).unwrap().text;
    assert!(text.contains("[^1]: n59999\n\n[^2]: n59998\n"));
}

#[test]
fn words_of_a_file_make_no_headings() {
    let paragraph = |text: &str| format!("<w:p><w:r><w:t>{text}</w:t></w:r></w:p>");
    let body = format!(
        "{}<w:p><w:r><w:t>Ada</w:t><w:br/><w:t>===</w:t></w:r></w:p>{}<w:tbl><w:tr><w:tc>{}</w:tc></w:tr></w:tbl>",
        paragraph("# apt install foo"),
        paragraph("```"),
        paragraph("#")
    );
    let text = read("a.docx", docx(&body)).unwrap().text;
    assert_eq!(text, "\\# apt install foo\n\nAda\n\\===\n\n\\```\n\n| # |\n| --- |\n\n");
    let slide = "<p:sld xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp><p:txBody><a:p><a:r><a:t># apt install foo</a:t></a:r></a:p>\
         <a:p><a:r><a:t>--</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>";
    let notes = "<p:notes xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr><p:ph type='body'/></p:nvPr></p:nvSpPr>\
         <p:txBody><a:p><a:r><a:t># said</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:notes>";
    let relation =
        |target: &str| format!("<Relationships><Relationship Id='r0' Target='{target}'/></Relationships>");
    let bytes = archive(&[
        ("ppt/presentation.xml", b"<p:presentation xmlns:p='p' xmlns:r='r'><p:sldIdLst><p:sldId r:id='r0'/></p:sldIdLst></p:presentation>"),
        ("ppt/_rels/presentation.xml.rels", relation("slides/slide1.xml").as_bytes()),
        ("ppt/slides/slide1.xml", slide.as_bytes()),
        ("ppt/slides/_rels/slide1.xml.rels", relation("../notesSlides/notes1.xml").as_bytes()),
        ("ppt/notesSlides/notes1.xml", notes.as_bytes()),
    ]);
    let text = read("a.pptx", bytes).unwrap().text;
    assert_eq!(text, "## Slide 1\n\n\\# apt install foo\n\\--\n\n### Notes\n\n\\# said\n\n");
    let lines =
        [made::line(24, 700, "Install"), made::line(10, 640, "# apt install foo and whatever else it takes")];
    let text = read("a.pdf", pages(&[stream("", lines.concat().as_bytes())])).unwrap().text;
    assert!(text.contains("\n\\# apt install foo"), "{text}");
}

#[test]
fn pages_take_no_longer_than_they_are_large() {
    let read_soon = |page: &str| {
        let text = read("a.html", format!("<html><body>words{page}").into_bytes()).unwrap().text;
        assert!(text.contains("words"));
    };
    read_soon(&"<".repeat(1 << 20));
    read_soon(&"<a".repeat(1 << 20));
    let attributes: String = (0..400_000).map(|at| format!(" a{at}")).collect();
    let quoted: String = (0..400_000).map(|at| format!(" a{at}='>'")).collect();
    for page in [
        format!("<p{attributes}>"),
        format!("<p{quoted}>"),
        // What is none of the tag's to one who reads comments and names otherwise.
        format!("<!-- <p x=\"--><p y='\"> '{attributes}>"),
        format!("<p=\"{attributes}>"),
        (0..60_000).map(|at| format!("<body a{at}>x</body>")).collect(),
        // What is in bold in one paragraph and never ends is so in each.
        format!(
            "<p>{}</p>{}",
            (0..180).map(|at| format!("<b a{at}>")).collect::<String>(),
            "<p>x</p>".repeat(60_000)
        ),
    ] {
        read_soon(&page);
    }
}

#[test]
fn parts_have_the_names_that_relations_give_them() {
    let relation = |kind: &str, target: &str| {
        let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
        format!(
            "<Relationships><Relationship Id='r0' Type='{office}/{kind}' Target='{target}'/></Relationships>"
        )
    };
    let document = "<w:document xmlns:w='w'><w:body><w:p><w:pPr><w:pStyle w:val='h'/></w:pPr><w:r><w:t>Here</w:t></w:r></w:p></w:body></w:document>";
    let styles =
        "<w:styles xmlns:w='w'><w:style w:styleId='h'><w:name w:val='heading 2'/></w:style></w:styles>";
    let bytes = archive(&[
        ("_rels/.rels", relation("officeDocument", "word/document2.xml").as_bytes()),
        ("word/document2.xml", document.as_bytes()),
        ("word/_rels/document2.xml.rels", relation("styles", "styles2.xml").as_bytes()),
        ("word/styles2.xml", styles.as_bytes()),
    ]);
    assert_eq!(read("a.docx", bytes).unwrap().text, "## Here\n\n");
    // Names of what is not there count for nothing.
    let bytes = archive(&[
        ("_rels/.rels", relation("officeDocument", "word/Document.xml").as_bytes()),
        ("word/document.xml", document.as_bytes()),
        ("word/_rels/document.xml.rels", relation("styles", "Styles.xml").as_bytes()),
        ("word/styles.xml", styles.as_bytes()),
    ]);
    assert_eq!(read("a.docx", bytes).unwrap().text, "## Here\n\n");
    let slides = "<p:presentation xmlns:p='p' xmlns:r='r'><p:sldIdLst><p:sldId r:id='r0'/></p:sldIdLst></p:presentation>";
    let slide = "<p:sld xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp><p:txBody><a:p><a:r><a:t>Here</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>";
    let bytes = archive(&[
        ("_rels/.rels", relation("officeDocument", "/ppt/presentation2.xml").as_bytes()),
        ("ppt/presentation2.xml", slides.as_bytes()),
        ("ppt/_rels/presentation2.xml.rels", relation("slide", "slides/slide1.xml").as_bytes()),
        ("ppt/slides/slide1.xml", slide.as_bytes()),
    ]);
    assert_eq!(read("a.pptx", bytes).unwrap().text, "## Slide 1\n\nHere\n\n");
}

#[test]
fn all_remarks_on_a_slide_are_read_in_one_order() {
    let slides = "<p:presentation xmlns:p='p' xmlns:r='r'><p:sldIdLst><p:sldId r:id='r0'/></p:sldIdLst></p:presentation>";
    let remark = |text: usize| format!("<cmLst><cm authorId='0'><text>Remark {text}</text></cm></cmLst>");
    let relations: String =
        (1..9).map(|at| format!("<Relationship Id='r{at}' Target='../comments/comment{at}.xml'/>")).collect();
    let relations = format!("<Relationships>{relations}</Relationships>");
    let names: Vec<(String, String)> =
        (1..9).map(|at| (format!("ppt/comments/comment{at}.xml"), remark(at))).collect();
    let authors = format!("<authors><author id='0' name='{}'/></authors>", "Ada".repeat(1 << 20));
    let mut parts: Vec<(&str, &[u8])> = vec![
        ("ppt/presentation.xml", slides.as_bytes()),
        (
            "ppt/_rels/presentation.xml.rels",
            b"<Relationships><Relationship Id='r0' Target='slides/slide1.xml'/></Relationships>",
        ),
        ("ppt/slides/slide1.xml", b"<sld/>"),
        ("ppt/slides/_rels/slide1.xml.rels", relations.as_bytes()),
        ("ppt/authors.xml", authors.as_bytes()),
    ];
    parts.extend(names.iter().map(|(name, text)| (name.as_str(), text.as_bytes())));
    let text = read("a.pptx", archive(&parts)).unwrap().text;
    let said: Vec<usize> = (1..9).map(|at| text.find(&format!("Remark {at}")).unwrap()).collect();
    assert!(said.is_sorted() && text.len() < 4096, "{text}");
}
