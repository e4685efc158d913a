//! The texts that are measured: four kinds of ordinary ones and the worst cases, in four sizes.
//!
//! They are made from the checkout's own documents and sources, whose words are exchanged for others of the same length
//! and about the same frequency each time the material is used up: a long text made of copies would be a gift to
//! whoever remembers what it has seen.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// The sizes, in bytes, and their names.
pub const SIZES: [(&str, usize); 4] =
    [("10KB", 10_000), ("100KB", 100_000), ("1MB", 1_000_000), ("30MB", 30_000_000)];

/// A text with its name, its size's name and whether it is Markdown.
#[derive(Debug)]
pub struct Text {
    /// What it is made of.
    pub kind: String,
    /// The name of its size.
    pub size: String,
    /// Whether it is cut as Markdown.
    pub markdown: bool,
    /// Where it is.
    pub path: PathBuf,
}

impl Text {
    /// Its size in bytes, give or take a character.
    pub fn bytes(&self) -> usize {
        SIZES.iter().find(|(name, _)| *name == self.size).map_or(0, |(_, size)| *size)
    }

    /// The text itself.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> io::Result<String> {
        fs::read_to_string(&self.path)
    }
}

/// The texts that [`write`] put into a directory, by kind and then by size.
///
/// # Errors
/// When the directory cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Text>> {
    let mut all = Vec::new();
    for path in files(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let [kind, size, extension] = name.split('.').collect::<Vec<_>>()[..] {
            let (kind, size) = (kind.to_owned(), size.to_owned());
            all.push(Text { kind, size, markdown: extension == "md", path });
        }
    }
    let place = |text: &Text| SIZES.iter().position(|(name, _)| *name == text.size);
    all.sort_by_key(|text| (text.kind.clone(), place(text)));
    Ok(all)
}

/// Writes all texts into a directory in these sizes, as `kind.size.md` or `kind.size.txt`. Files in `own`, if given, are kinds as
/// well: each in the sizes it is big enough for, instead of ours of the same name.
///
/// # Errors
/// When a file cannot be read or written.
pub fn write(out: &Path, checkout: &Path, own: Option<&Path>, sizes: &[(&str, usize)]) -> io::Result<()> {
    match fs::remove_dir_all(out) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(out)?,
    }
    let largest = sizes.iter().map(|(_, size)| *size).max().unwrap_or(0);
    for (kind, extension, text) in ordinary(checkout, largest)?.into_iter().chain(worst(checkout, largest)?) {
        write_sizes(out, kind, extension, &text, sizes)?;
    }
    for path in own.map(files).transpose()?.unwrap_or_default() {
        let kind = path.file_stem().unwrap_or_default().to_string_lossy().replace('.', "-");
        let extension =
            if path.extension().is_some_and(|extension| extension == "md") { "md" } else { "txt" };
        for (size, _) in sizes {
            for extension in ["md", "txt"] {
                let _ = fs::remove_file(out.join(format!("{kind}.{size}.{extension}")));
            }
        }
        write_sizes(out, &kind, extension, &fs::read_to_string(path)?, sizes)?;
    }
    Ok(())
}

fn write_sizes(
    out: &Path,
    kind: &str,
    extension: &str,
    text: &str,
    sizes: &[(&str, usize)],
) -> io::Result<()> {
    for &(name, size) in sizes {
        if text.len() >= size {
            let cut = text.floor_char_boundary(size);
            fs::write(out.join(format!("{kind}.{name}.{extension}")), &text[..cut])?;
        }
    }
    Ok(())
}

/// The files of a directory, in order.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
    let mut paths: Vec<_> =
        entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    paths.sort();
    Ok(paths)
}

type Made = (&'static str, &'static str, String);

fn ordinary(checkout: &Path, size: usize) -> io::Result<Vec<Made>> {
    let sources = sources(checkout)?;
    let mut documents = String::new();
    for name in ["README.md", "DESIGN.md", "docs/guarantees.md", "fixtures/lighthouse.md"] {
        documents += &fs::read_to_string(checkout.join(name))?;
        documents.push('\n');
    }
    let (reference, prose) = reference_and_prose(&sources);
    let code: String = sources.into_iter().map(|(_, text)| text).collect();
    Ok(vec![
        ("markdown", "md", vary(&(documents + &reference), size)),
        ("prose", "txt", vary(&prose, size)),
        ("code", "txt", vary(&code, size)),
        ("chinese", "txt", chinese(size)),
    ])
}

/// What costs more than it looks, for a chunker or for a tokenizer.
fn worst(checkout: &Path, size: usize) -> io::Result<Vec<Made>> {
    let repeat = |part: &str| part.repeat(size / part.len() + 1);
    let sources = sources(checkout)?;
    let (_, prose) = reference_and_prose(&sources);
    let line = vary(&prose, size).replace('\n', " ");
    let code: String =
        sources.into_iter().map(|(_, text)| text).filter(|text| !text.contains("```")).collect();
    let fence = format!("# Log\n\n```text\n{}", vary(&code, size));
    let mut quotes = String::new();
    for depth in (1..).map(|step| step * 50) {
        if quotes.len() >= size {
            break;
        }
        // Ever deeper, as nothing else makes the nesting grow with the size.
        writeln!(quotes, "{}text\n", "> ".repeat(depth)).map_err(io::Error::other)?;
    }
    Ok(vec![
        ("worst-a", "md", repeat("a")),
        ("worst-blanks", "md", repeat(" ")),
        ("worst-emoji", "md", repeat("🙂")),
        ("worst-quotes", "md", quotes),
        ("worst-fence", "md", fence),
        ("worst-line", "md", line),
    ])
}

/// The Rust sources of the checkout by name, in order.
fn sources(checkout: &Path) -> io::Result<Vec<(String, String)>> {
    fn walk(dir: &Path, all: &mut Vec<PathBuf>) -> io::Result<()> {
        for entry in fs::read_dir(dir)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "target" && name != "build" && name != "node_modules" {
                walk(&path, all)?;
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push(path);
            }
        }
        Ok(())
    }
    let mut paths = Vec::new();
    for dir in ["crates", "worker", "tests"] {
        walk(&checkout.join(dir), &mut paths)?;
    }
    paths.sort();
    let name = |path: &Path| path.strip_prefix(checkout).unwrap_or(path).display().to_string();
    paths.into_iter().map(|path| Ok((name(&path), fs::read_to_string(&path)?))).collect()
}

/// The doc comments of the sources, as a reference manual in Markdown and as plain paragraphs.
fn reference_and_prose(sources: &[(String, String)]) -> (String, String) {
    let (mut manual, mut prose) = (String::new(), String::new());
    for (name, source) in sources {
        let _ = writeln!(manual, "# {name}\n");
        let mut comment = String::new();
        for line in source.lines().map(str::trim) {
            if let Some(text) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) {
                comment.push_str(text.strip_prefix(' ').unwrap_or(text));
                comment.push('\n');
            } else if !comment.is_empty() {
                if !line.is_empty() {
                    let _ = writeln!(manual, "## `{}`\n", line.trim_end_matches(" {"));
                }
                let _ = writeln!(manual, "{comment}");
                for paragraph in comment.split("\n\n").filter(|text| text.starts_with(char::is_alphabetic)) {
                    let _ = writeln!(prose, "{}\n", paragraph.trim().replace('\n', " "));
                }
                comment.clear();
            }
        }
    }
    (manual, prose)
}

/// The next of a sequence of numbers that look random (`SplitMix64`).
fn next(seed: &mut u64) -> usize {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as usize
}

/// The text, then the text with its words exchanged, ever differently, up to a size.
fn vary(text: &str, size: usize) -> String {
    /// Words are exchanged with those this close to them in frequency.
    const NEIGHBOURS: usize = 16;
    // Names in code stay what they are.
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let pieces: Vec<&str> = text.split_inclusive(|c| !is_part(c)).collect();
    let word = |piece: &'_ str| {
        let word = piece.trim_end_matches(|c| !is_part(c));
        if word.bytes().all(|byte| byte.is_ascii_lowercase()) { word.len() } else { 0 }
    };

    let mut counts: HashMap<&str, usize> = HashMap::new();
    for piece in &pieces {
        *counts.entry(&piece[..word(piece)]).or_default() += 1;
    }
    let mut words: Vec<(&str, usize)> = counts.into_iter().filter(|(word, _)| word.len() > 2).collect();
    words.sort_by_key(|&(word, count)| (word.len(), usize::MAX - count, word));

    let mut out = text.to_owned();
    let mut seed = 1;
    while out.len() < size {
        let mut becomes: HashMap<&str, &str> = HashMap::new();
        for same_length in words.chunk_by(|(a, _), (b, _)| a.len() == b.len()) {
            for neighbours in same_length.chunks(NEIGHBOURS) {
                let mut order: Vec<&str> = neighbours.iter().map(|(word, _)| *word).collect();
                for last in (1..order.len()).rev() {
                    order.swap(last, next(&mut seed) % (last + 1));
                }
                becomes.extend(neighbours.iter().map(|(word, _)| *word).zip(order));
            }
        }
        for piece in &pieces {
            let (word, rest) = piece.split_at(word(piece));
            out.push_str(becomes.get(word).unwrap_or(&word));
            out.push_str(rest);
        }
    }
    out
}

/// Chinese sentences put together from their parts, about harbours and their keepers.
fn chinese(size: usize) -> String {
    const WHEN: [&str; 12] = [
        "清晨",
        "去年冬天",
        "每逢雨季",
        "黄昏时分",
        "暴风雨过后",
        "三十年前",
        "工程开始以后",
        "节日那天",
        "潮水退去时",
        "根据记录",
        "众所周知",
        "不久之前",
    ];
    const WHO: [&str; 16] = [
        "灯塔看守人",
        "年轻的船长",
        "港口管理局",
        "渔民们",
        "来自北方的商人",
        "图书馆的管理员",
        "两位工程师",
        "村里的老师",
        "研究人员",
        "市政府",
        "博物馆馆长",
        "一名记者",
        "修船的工匠",
        "她的祖父",
        "气象站的值班员",
        "远洋货轮的水手",
    ];
    const HOW: [&str; 10] = [
        "仔细地",
        "再次",
        "按照惯例",
        "毫不犹豫地",
        "在电话里",
        "用一整个下午",
        "独自",
        "与同事一起",
        "冒着大雨",
        "终于",
    ];
    const DID: [&str; 14] = [
        "检查了",
        "记录了",
        "修复了",
        "讨论了",
        "发现了",
        "忘记了",
        "画下了",
        "打开了",
        "搬走了",
        "测量了",
        "出版了",
        "翻译了",
        "更换了",
        "介绍了",
    ];
    const WHAT: [&str; 18] = [
        "旧码头的木桩",
        "那份航海日志",
        "灯塔里的铜制齿轮",
        "海岸线的变化",
        "向量检索的索引",
        "雾号的控制系统",
        "一张十九世纪的地图",
        "仓库里的全部档案",
        "新的防波堤方案",
        "水位与风速的关系",
        "被遗忘的信件",
        "鱼市场的屋顶",
        "铁路桥的设计图",
        "两套不同的统计数据",
        "石阶旁的纪念碑",
        "每个房间的温度",
        "文档的目录结构",
        "海底电缆的位置",
    ];
    const END: [&str; 8] = ["。", "。", "。", "；", "！", "？", "，结果令人满意。", "，费用为一万二千元。"];
    let mut out = String::with_capacity(size + 64);
    let mut seed = 2;
    let mut count = 0;
    while out.len() < size {
        let mut pick = |from: &[&'static str]| from[next(&mut seed) % from.len()];
        let parts = [pick(&WHEN), "，", pick(&WHO), pick(&HOW), pick(&DID), pick(&WHAT), pick(&END)];
        parts.iter().for_each(|part| out.push_str(part));
        count += 1;
        if count % 6 == 0 {
            out.push_str("\n\n");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_exchanged_and_all_else_stays() {
        let text = "Alpha_one, beta gamma delta: omega kappa `sigma` theta. 42 of\n";
        let varied = vary(text, 3 * text.len());
        let passes: Vec<&str> = varied.lines().collect();
        assert_eq!(passes.len(), 3);
        assert_eq!(passes[0], text.trim_end());
        assert!(passes[1] != passes[0] && passes[2] != passes[1], "{varied}");
        assert!(passes.iter().all(|pass| pass.starts_with("Alpha_one, ")), "{varied}");
        let shape = |text: &str| text.replace(|c: char| c.is_ascii_lowercase(), "x");
        assert!(passes.iter().all(|pass| shape(pass) == shape(passes[0])), "{varied}");
    }

    #[test]
    fn own_files_are_kinds_in_the_sizes_they_are_big_enough_for() {
        let dir = std::env::temp_dir().join(format!("ragflare-bench-{}", std::process::id()));
        let (out, own) = (dir.join("out"), dir.join("own"));
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("novel.md"), "word ".repeat(10_000)).unwrap();
        write(&out, &Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), Some(&own), &SIZES[..2]).unwrap();
        let all = list(&out).unwrap();
        let sizes = |kind: &str| {
            all.iter().filter(|text| text.kind == kind).map(|text| text.size.as_str()).collect::<Vec<_>>()
        };
        assert_eq!(sizes("novel"), ["10KB"]);
        assert_eq!(sizes("chinese"), ["10KB", "100KB"]);
        assert!(all.iter().find(|text| text.kind == "novel").unwrap().markdown);
        let text =
            all.iter().find(|text| text.kind == "chinese" && text.size == "100KB").unwrap().read().unwrap();
        assert!((99_997..=100_000).contains(&text.len()), "{}", text.len());
        fs::remove_dir_all(dir).unwrap();
    }
}
