//! Small files of each format, made as they are needed.

use std::io::Write;

pub(crate) fn archive(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        writer.start_file(*name, zip::write::SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// A PDF of objects, numbered from 1; the first is its catalog.
pub(crate) fn pdf(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut out = b"%PDF-1.7\n".to_vec();
    let mut begin = Vec::new();
    for (at, object) in objects.iter().enumerate() {
        begin.push(out.len());
        out.extend(format!("{} 0 obj\n", at + 1).bytes());
        out.extend(object);
        out.extend(b"\nendobj\n");
    }
    let table = out.len();
    out.extend(format!("xref\n0 {}\n0000000000 65535 f \n", objects.len() + 1).bytes());
    for at in begin {
        out.extend(format!("{at:010} 00000 n \n").bytes());
    }
    out.extend(
        format!("trailer\n<< /Size {} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n", objects.len() + 1)
            .bytes(),
    );
    out
}

pub(crate) fn stream(dictionary: &str, data: &[u8]) -> Vec<u8> {
    let mut out = format!("<< {dictionary} /Length {} >>\nstream\n", data.len()).into_bytes();
    out.extend(data);
    out.extend(b"\nendstream");
    out
}

/// A PDF with a page for each of some contents.
pub(crate) fn pages(contents: &[Vec<u8>]) -> Vec<u8> {
    let kids: String = (0..contents.len()).map(|at| format!("{} 0 R ", 4 + 2 * at)).collect();
    let mut objects = vec![
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", contents.len()).into_bytes(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_vec(),
    ];
    for (at, content) in contents.iter().enumerate() {
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents {} 0 R /Resources << /Font << /F 3 0 R >> >> >>",
                5 + 2 * at
            )
            .into_bytes(),
        );
        objects.push(content.clone());
    }
    pdf(&objects)
}

pub(crate) fn line(size: u32, y: u32, text: &str) -> String {
    format!("BT /F {size} Tf 60 {y} Td ({text}) Tj ET\n")
}

pub(crate) fn small_pdf() -> Vec<u8> {
    let page = |number: u32| {
        let mut content = line(24, 700, &format!("Heading {number}"));
        content.push_str(&line(
            10,
            640,
            "The first line of a paragraph that is long enough to be one and is di-",
        ));
        // Other words on each page: the same in the same place would be its footer.
        content.push_str(&line(
            10,
            628,
            &format!("vided at its end, so that the word goes on in line {}.", "IVX".repeat(number as usize)),
        ));
        stream("", content.as_bytes())
    };
    pages(&[page(1), page(2), page(3)])
}

pub(crate) fn docx(body: &str) -> Vec<u8> {
    let document = format!("<w:document xmlns:w='w'><w:body>{body}</w:body></w:document>");
    archive(&[("word/document.xml", document.as_bytes())])
}

pub(crate) fn xlsx(rows: &str) -> Vec<u8> {
    workbook(rows, "", &["worksheets/sheet1.xml"])
}

/// A workbook with one sheet's part, which sheets may name by several targets, and one shared text.
pub(crate) fn workbook(rows: &str, text: &str, targets: &[&str]) -> Vec<u8> {
    let main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
    let office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
    let package = "http://schemas.openxmlformats.org/package/2006/relationships";
    let names = ["Prices", "Again"];
    let sheets: String = (0..targets.len())
        .map(|at| format!("<sheet name='{}' sheetId='{2}' r:id='rId{1}'/>", names[at], at, at + 1))
        .collect();
    let book = format!("<workbook xmlns='{main}' xmlns:r='{office}'><sheets>{sheets}</sheets></workbook>");
    let relations: String = targets
        .iter()
        .enumerate()
        .map(|(at, target)| {
            format!("<Relationship Id='rId{at}' Type='{office}/worksheet' Target='{target}'/>")
        })
        .collect();
    let relations = format!("<Relationships xmlns='{package}'>{relations}</Relationships>");
    let texts = format!("<sst xmlns='{main}'><si><t>{text}</t></si></sst>");
    let sheet = format!(
        "<worksheet xmlns='{main}'><dimension ref='A1:XFD1048576'/><sheetData>{rows}</sheetData></worksheet>"
    );
    archive(&[
        ("xl/workbook.xml", book.as_bytes()),
        ("xl/_rels/workbook.xml.rels", relations.as_bytes()),
        ("xl/sharedStrings.xml", texts.as_bytes()),
        ("xl/worksheets/sheet1.xml", sheet.as_bytes()),
    ])
}

pub(crate) fn pptx() -> Vec<u8> {
    let relations =
        |target: &str| format!("<Relationships><Relationship Id='r1' Target='{target}'/></Relationships>");
    let slide = "<p:sld xmlns:p='p' xmlns:a='a'><p:cSld><p:spTree><p:sp><p:nvSpPr><p:nvPr><p:ph type='title'/></p:nvPr></p:nvSpPr>\
                 <p:txBody><a:p><a:r><a:t>Plans</a:t></a:r></a:p></p:txBody></p:sp></p:spTree></p:cSld></p:sld>";
    archive(&[
        ("ppt/presentation.xml", b"<p:presentation xmlns:p='p' xmlns:r='r'><p:sldIdLst><p:sldId id='256' r:id='r1'/></p:sldIdLst></p:presentation>"),
        ("ppt/_rels/presentation.xml.rels", relations("slides/slide1.xml").as_bytes()),
        ("ppt/slides/slide1.xml", slide.as_bytes()),
    ])
}

pub(crate) fn epub(chapter: &str) -> Vec<u8> {
    archive(&[
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", b"<container><rootfiles><rootfile full-path='a.opf'/></rootfiles></container>"),
        ("a.opf", b"<package><manifest><item id='c' href='c.xhtml'/></manifest><spine><itemref idref='c'/></spine></package>"),
        ("c.xhtml", chapter.as_bytes()),
    ])
}

pub(crate) fn ods(cells: &str) -> Vec<u8> {
    let content = format!(
        "<o:document-content xmlns:o='o' xmlns:t='t'><o:body><o:spreadsheet><t:table t:name='S'>{cells}</t:table></o:spreadsheet></o:body></o:document-content>"
    );
    archive(&[
        ("mimetype", b"application/vnd.oasis.opendocument.spreadsheet"),
        ("content.xml", content.as_bytes()),
    ])
}

const MAIL: &str = "From: a@a.example\r\nSubject: Hello\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\
                    Content-Type: text/html\r\n\r\n<p>Words</p>\r\n--b--\r\n";

/// A file of each format that is read, with its name.
pub(crate) fn one_of_each() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("a.pdf", small_pdf()),
        ("a.docx", docx("<w:p><w:r><w:t>Words</w:t></w:r></w:p><w:tbl><w:tr><w:tc><w:p><w:r><w:t>c</w:t></w:r></w:p></w:tc></w:tr></w:tbl>")),
        ("a.pptx", pptx()),
        ("a.xlsx", xlsx("<row r='1'><c r='A1'><v>1</v></c></row><row r='5'><c r='C5'><v>2.5</v></c></row>")),
        ("a.ods", ods("<t:table-row><t:table-cell><p>x</p></t:table-cell></t:table-row>")),
        ("a.epub", epub("<html><body><h1>One</h1><p>Words</p></body></html>")),
        ("a.eml", MAIL.as_bytes().to_vec()),
        ("a.html", b"<html><head><title>T</title></head><body><h1>One</h1><p>Words <b>of</b> text</p><table><tr><td>c</td></tr></table></body></html>".to_vec()),
        ("a.xml", b"<rss><channel><title>News</title><item><title>One</title><description>Two</description></item></channel></rss>".to_vec()),
        ("a.json", br#"{"title": "T", "list": [{"a": 1}, {"a": 2}]}"#.to_vec()),
        ("a.jsonl", b"{\"a\": 1}\n{\"a\": 2}\n".to_vec()),
        ("a.ipynb", br##"{"cells": [{"cell_type": "markdown", "source": ["# T\n"]}], "metadata": {}}"##.to_vec()),
        ("a.csv", b"name,age\nAda,36\n\"Bo\nb\",7\n".to_vec()),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\nHello\n".to_vec()),
        ("a.md", b"# T\n\ntext\n".to_vec()),
        ("a.txt", "Größe\n".as_bytes().to_vec()),
    ]
}

/// The small file with RC4 and a 40-bit key (ISO 32000-1, 7.6: algorithms 1 to 4), for a user's password.
pub(crate) fn encrypted_pdf(user: &str) -> Vec<u8> {
    const PAD: [u8; 32] = [
        0x28, 0xBF, 0x4E, 0x5E, 0x4E, 0x75, 0x8A, 0x41, 0x64, 0x00, 0x4E, 0x56, 0xFF, 0xFA, 0x01, 0x08, 0x2E,
        0x2E, 0x00, 0xB6, 0xD0, 0x68, 0x3E, 0x80, 0x2F, 0x0C, 0xA9, 0xFE, 0x64, 0x53, 0x69, 0x7A,
    ];
    let padded = |password: &str| -> Vec<u8> { password.bytes().chain(PAD).take(32).collect() };
    let owner = rc4(&md5(&padded("owner"))[..5], &padded(user));
    let mut seed = padded(user);
    seed.extend(&owner);
    seed.extend((-4_i32).to_le_bytes());
    seed.extend(b"0123456789abcdef");
    let key = md5(&seed)[..5].to_vec();
    let check = rc4(&key, &PAD);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let content = line(12, 700, "Nobody knows");
    let mut own = key.clone();
    own.extend([5, 0, 0, 0, 0]);
    let bytes = pages(&[stream("", &rc4(&md5(&own)[..10], content.as_bytes()))]);
    let text = bytes.windows(7).rposition(|window| window == b"trailer").unwrap();
    let mut out = bytes[..text].to_vec();
    let rest = String::from_utf8(bytes[text..].to_vec()).unwrap();
    let encrypt = format!(
        "/Root 1 0 R /ID [<{0}> <{0}>] /Encrypt << /Filter /Standard /V 1 /R 2 /P -4 /O <{1}> /U <{2}> >>",
        hex(b"0123456789abcdef"),
        hex(&owner),
        hex(&check)
    );
    out.extend(rest.replace("/Root 1 0 R", &encrypt).bytes());
    out
}

pub(crate) fn rc4(key: &[u8], data: &[u8]) -> Vec<u8> {
    let mut state: Vec<u8> = (0..=255).collect();
    let mut j = 0_usize;
    for i in 0..256 {
        j = (j + usize::from(state[i]) + usize::from(key[i % key.len()])) % 256;
        state.swap(i, j);
    }
    let (mut i, mut j) = (0, 0);
    let one = |byte: &u8| {
        i = (i + 1) % 256;
        j = (j + usize::from(state[i])) % 256;
        state.swap(i, j);
        byte ^ state[(usize::from(state[i]) + usize::from(state[j])) % 256]
    };
    data.iter().map(one).collect()
}

pub(crate) fn md5(data: &[u8]) -> [u8; 16] {
    use md5::Digest;
    md5::Md5::digest(data).into()
}
