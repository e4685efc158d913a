use super::*;

/// Numbers by chance, the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

/// All parts of a recording, as they would be read from a store.
fn parts(format: Audio, file: &[u8], most: Most) -> Vec<Part> {
    let head = &file[..file.len().min(HEAD as usize)];
    let cutter = Cutter::new(format, head, file.len() as u64, most).unwrap().unwrap();
    let (mut from, mut parts) = (cutter.start(), Vec::new());
    loop {
        let wanted = cutter.wants(from);
        if wanted.is_empty() {
            return parts;
        }
        let part = cutter.part(from, &file[wanted.start as usize..wanted.end as usize]);
        assert!(part.next > from, "it does not get on");
        assert!(part.file.len() <= most.bytes.max(1500), "{} of {}", part.file.len(), most.bytes);
        from = part.next;
        parts.push(part);
    }
}

fn format_of(channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let block = channels * bits / 8;
    let mut chunk = b"fmt \x10\0\0\0\x01\0".to_vec();
    chunk.extend_from_slice(&channels.to_le_bytes());
    chunk.extend_from_slice(&rate.to_le_bytes());
    chunk.extend_from_slice(&(rate * u32::from(block)).to_le_bytes());
    chunk.extend_from_slice(&block.to_le_bytes());
    chunk.extend_from_slice(&bits.to_le_bytes());
    chunk
}

/// What a WAV file made here holds.
fn samples(file: &[u8]) -> &[u8] {
    let at = file.windows(4).position(|name| name == b"data").unwrap();
    let size = u32::from_le_bytes(file[at + 4..at + 8].try_into().unwrap()) as usize;
    &file[at + 8..at + 8 + size]
}

#[test]
fn parts_of_a_wav_are_all_of_its_samples() {
    let mut random = Random(7);
    for _ in 0..60 {
        let (channels, bits) = (1 + random.below(2) as u16, [8u16, 16, 24][random.below(3)]);
        let rate = [8_000, 16_000, 44_100][random.below(3)];
        let block = usize::from(channels * bits / 8);
        let length = block * (1 + random.below(9_000));
        let sound = random.bytes(length);
        let mut file = wav(&format_of(channels, rate, bits), &sound);
        if random.below(2) == 0 {
            // A note of the recorder's before the samples, another behind.
            file.splice(12..12, b"LIST\x05\0\0\0abcde\0".iter().copied());
            file.extend_from_slice(b"id3 \x04\0\0\0data");
        }
        let most =
            Most { bytes: 200 + random.below(9_000), seconds: 0.05 + random.below(100) as f64 / 100.0 };
        let found = parts(Audio::Wav, &file, most);
        let joined: Vec<u8> = found.iter().flat_map(|part| samples(&part.file).to_vec()).collect();
        assert_eq!(joined, sound);
        let seconds: f64 = found.iter().map(|part| part.seconds).sum();
        assert!((seconds - sound.len() as f64 / (f64::from(rate) * block as f64)).abs() < 1e-6);
        for part in &found {
            assert!(part.seconds <= most.seconds + 1e-6 && samples(&part.file).len().is_multiple_of(block));
            let size = u32::from_le_bytes(part.file[4..8].try_into().unwrap()) as usize;
            assert!(
                part.file.starts_with(b"RIFF") && part.file.len() == size + 8 + samples(&part.file).len() % 2
            );
            // A part is a recording that could be cut again.
            assert!(Cutter::new(Audio::Wav, &part.file, part.file.len() as u64, most).unwrap().is_some());
        }
    }
}

#[test]
fn a_wav_without_a_length_goes_on_to_its_end() {
    for length in [0u32, u32::MAX] {
        let sound: Vec<u8> = (0..4_000u32).map(|n| n as u8).collect();
        let mut file = wav(&format_of(1, 8_000, 16), &sound);
        let at = file.len() - sound.len() - 4;
        file[at..at + 4].copy_from_slice(&length.to_le_bytes());
        let joined: Vec<u8> = parts(Audio::Wav, &file, Most { bytes: 1_000, seconds: 60.0 })
            .iter()
            .flat_map(|part| samples(&part.file).to_vec())
            .collect();
        assert_eq!(joined, sound);
    }
}

#[test]
fn what_is_no_wav_is_said() {
    for head in [
        &b"RIFF\x10\0\0\0WAVE"[..],
        b"RIFF\x10\0\0\0WAVEdata\x08\0\0\0xxxxxxxx",
        b"RIFF\x10\0\0\0WAVEfmt \xFF\xFF\xFF\xFF",
    ] {
        let error = Cutter::new(Audio::Wav, head, 900, Most { bytes: 100, seconds: 1.0 }).unwrap_err();
        assert!(matches!(error, Error::Document { code, .. } if code == "unreadable"));
    }
    assert_eq!(Cutter::new(Audio::Ogg, b"OggS", 4, Most { bytes: 100, seconds: 1.0 }), Ok(None));
}

#[test]
fn a_chunk_of_any_size_leads_on() {
    for size in 0xFFFF_FFF0..=u32::MAX {
        // Also where a pointer has 32 bits: the next chunk is not one that was read before.
        assert_eq!(after(20, size.into()), 20 + u64::from(size).div_ceil(2) * 2);
        for name in [b"LIST", b"fmt "] {
            let mut head = b"RIFF\x10\0\0\0WAVE".to_vec();
            head.extend_from_slice(name);
            head.extend_from_slice(&size.to_le_bytes());
            head.resize(100, 0);
            let error = Cutter::new(Audio::Wav, &head, 900, Most { bytes: 100, seconds: 1.0 }).unwrap_err();
            assert!(matches!(error, Error::Document { code, .. } if code == "unreadable"), "{size:x}");
        }
    }
}

#[test]
fn seconds_are_counted_by_samples_and_not_by_what_the_head_says_of_them() {
    let most = Most { bytes: 100_000, seconds: 60.0 };
    for said in [0u32, 1, 4_000_000] {
        let mut format = format_of(1, 8_000, 16);
        format[16..20].copy_from_slice(&said.to_le_bytes());
        let sound = vec![0; 32_000];
        let file = wav(&format, &sound);
        let seconds: f64 = parts(Audio::Wav, &file, most).iter().map(|part| part.seconds).sum();
        assert!((seconds - 2.0).abs() < 1e-9, "{said}: {seconds}");
        // Of packed samples only the head knows.
        format[8] = 2;
        let packed = Cutter::new(Audio::Wav, &wav(&format, &sound), 32_044, most);
        assert_eq!(packed.is_ok(), said > 0, "{said}");
    }
}

/// A frame of MPEG 1, 44.1 kHz, that no header can be found in.
fn frame(random: &mut Random) -> Vec<u8> {
    let header = [0xFF, 0xFB, (1 + random.below(14) as u8) << 4 | (random.below(2) as u8) << 1, 0x64];
    let length = Frame::read(&header).unwrap().bytes;
    let mut frame = header.to_vec();
    frame.extend(random.bytes(length - 4).iter().map(|byte| byte & 0x7F));
    frame
}

#[test]
fn parts_of_an_mp3_are_all_of_its_frames() {
    let mut random = Random(11);
    for round in 0..60 {
        let frames: Vec<Vec<u8>> = (0..=random.below(80)).map(|_| frame(&mut random)).collect();
        let mut file = Vec::new();
        if round % 2 == 0 {
            file.extend_from_slice(b"ID3\x04\0\0\0\0\0\x64");
            file.extend(random.bytes(100).iter().map(|byte| byte & 0x7F));
        }
        if round % 3 == 0 {
            let mut note = frame(&mut random);
            note[36..40].copy_from_slice(b"Info");
            file.extend(note);
        }
        file.extend(frames.concat());
        if round % 4 == 0 {
            file.extend_from_slice(b"TAG");
            file.extend([b' '; 125]);
        }
        let most =
            Most { bytes: 1_500 + random.below(20_000), seconds: 0.1 + random.below(30) as f64 / 10.0 };
        let found = parts(Audio::Mp3, &file, most);
        let joined: Vec<u8> = found.iter().flat_map(|part| part.file.clone()).collect();
        assert!(joined == frames.concat(), "round {round}");
        let seconds: f64 = found.iter().map(|part| part.seconds).sum();
        assert!((seconds - frames.len() as f64 * 1152.0 / 44_100.0).abs() < 1e-6, "round {round}");
        assert!(found.iter().all(|part| part.seconds < most.seconds + 0.03));
    }
}

#[test]
fn damage_between_frames_is_passed_over() {
    let mut random = Random(3);
    let frames: Vec<Vec<u8>> = (0..30).map(|_| frame(&mut random)).collect();
    let mut file = frames[..12].concat();
    file.extend([0; 700]);
    file.extend(frames[12..].concat());
    let found = parts(Audio::Mp3, &file, Most { bytes: 4_000, seconds: 60.0 });
    let joined: Vec<u8> = found.iter().flat_map(|part| part.file.clone()).collect();
    assert_eq!(joined, frames.concat());
    // Nothing of what is no MP3 at all.
    let noise: Vec<u8> = random.bytes(9_000).iter().map(|byte| byte & 0x7F).collect();
    assert!(
        parts(Audio::Mp3, &noise, Most { bytes: 4_000, seconds: 60.0 })
            .iter()
            .all(|part| part.file.is_empty())
    );
}
