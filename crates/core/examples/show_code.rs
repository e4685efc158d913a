use ragflare_core::chunk::{ChunkSettings, Chunker, Format, Language};
fn main() {
    let mut args = std::env::args().skip(1);
    let language = Language::from_name(&args.next().unwrap()).unwrap();
    let target: usize = args.next().unwrap().parse().unwrap();
    for path in args {
        let text = std::fs::read_to_string(&path).unwrap();
        println!("######## {path}");
        let settings = ChunkSettings { code_target: target, ..ChunkSettings::default() };
        for chunk in Chunker::new(settings).unwrap().chunks(&text, Format::Code(language)) {
            let body = &text[chunk.start..chunk.end];
            println!("=== {} tokens {:?}", chunk.tokens, chunk.headings);
            let lines: Vec<&str> = body.lines().collect();
            let n = lines.len();
            if n <= 8 {
                for l in &lines {
                    println!("{l}");
                }
            } else {
                for l in &lines[..4] {
                    println!("{l}");
                }
                println!("        ... {} lines", n - 7);
                for l in &lines[n - 3..] {
                    println!("{l}");
                }
            }
        }
    }
}
