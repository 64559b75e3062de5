//! Recognising what stands in the place of a checkpoint's file.
//!
//! A clone without Git LFS, a server's error saved under the file's name, an
//! archive, another program's format: each is told by its first bytes, so that
//! the message can say what the file is and what to do, instead of where a
//! parser stumbled.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde_json::Value;

/// Bytes of a file that are looked at: a tar archive shows itself at byte 257.
pub(super) const HEAD: usize = 1024;
/// Characters of an unknown text that are quoted.
const QUOTED: usize = 40;

const LFS: &str = "is a Git LFS pointer and not the file itself: run `git lfs install` and \
     `git lfs pull` in its folder, or download the file again";
const HTML: &str = "is an HTML page, of an error or a login most likely: download the file again, \
     logged in (`hf auth login`) if its model asks for that";
const XML: &str = "is an XML document, a server's error most likely: download the file again";
/// What is said of PyTorch's files.
pub(super) const PYTORCH: &str = "is PyTorch's own format (pickle), which can run code when it is loaded and \
     is not read: save the model as safetensors with transformers, \
     `AutoModelForCausalLM.from_pretrained(OLD).save_pretrained(NEW)`, and pack NEW";
const EMPTY: &str = "is empty: the download did not complete, repeat it";
const ZEROS: &str = "is filled with zeros: the download did not complete, repeat it";

/// The first bytes of the file at `path`.
///
/// # Errors
/// If it cannot be read.
pub(super) fn head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    File::open(path)?.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// What a file with these first bytes is and what to do about it, as the rest
/// of a sentence that begins with the file; `None` if it is nothing known.
pub(super) fn describe(head: &[u8]) -> Option<String> {
    if head.is_empty() {
        return Some(EMPTY.to_owned());
    }
    if head.len() >= 16 && head.iter().all(|&byte| byte == 0) {
        return Some(ZEROS.to_owned());
    }
    pointer_or_page(head)
        .or_else(|| weights(head))
        .map(str::to_owned)
        .or_else(|| archive(head))
        .or_else(|| server_error(head))
}

/// As [`describe`], and an unknown text is quoted: for files that are not text.
pub(super) fn describe_binary(head: &[u8]) -> Option<String> {
    describe(head).or_else(|| {
        let text = match std::str::from_utf8(head) {
            Ok(text) => text,
            // The head may end inside a character.
            Err(error) if error.error_len().is_none() => {
                std::str::from_utf8(&head[..error.valid_up_to()]).ok()?
            }
            Err(_) => return None,
        };
        let printable = |c: char| !c.is_control() || c.is_ascii_whitespace();
        let text = text.trim();
        (!text.is_empty() && text.chars().all(printable)).then(|| {
            let start: String = text.chars().take(QUOTED).collect();
            format!(
                "is a text that begins `{}`: download the file again",
                start.escape_debug()
            )
        })
    })
}

fn pointer_or_page(head: &[u8]) -> Option<&'static str> {
    if head.starts_with(&[0xff, 0xfe]) || head.starts_with(&[0xfe, 0xff]) {
        return Some("is text in UTF-16: save it as UTF-8");
    }
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let text = text.trim_ascii_start().to_ascii_lowercase();
    let begins = |start: &str| text.starts_with(start.as_bytes());
    if begins("version https://git-lfs.") || begins("version https://hawser.") {
        return Some(LFS);
    }
    if ["<!doctype html", "<html", "<head", "<body"]
        .map(begins)
        .contains(&true)
    {
        return Some(HTML);
    }
    // Comments and declarations may stand before a page.
    let tagged = begins("<!--") || begins("<?xml") || begins("<error");
    match tagged {
        true if contains(&text, b"<html") => Some(HTML),
        true => Some(XML),
        false => None,
    }
}

/// Other formats of weights.
fn weights(head: &[u8]) -> Option<&'static str> {
    let is_zip = head.starts_with(b"PK\x03\x04");
    let is_pickle = matches!(head, [0x80, 2..=5, ..]);
    if is_pickle || is_zip && contains(head, b"data.pkl") {
        return Some(PYTORCH);
    }
    if head.starts_with(b"\x89HDF\r\n") {
        return Some(
            "is an HDF5 file, TensorFlow's or Keras's weights, which are not read: \
             get the model as safetensors or GGUF",
        );
    }
    // ggml's older magic numbers, as they lie in a file.
    if [b"lmgg", b"fmgg", b"tjgg", b"algg"]
        .iter()
        .any(|magic| head.starts_with(*magic))
    {
        return Some(
            "is a GGML file from before GGUF, which is not read: get the model as GGUF, or \
             convert it with an older llama.cpp's convert-llama-ggml-to-gguf.py",
        );
    }
    if head.starts_with(b"GGUF") {
        return Some("is a GGUF file: give it by itself, `briquette pack FILE.gguf`");
    }
    if head.starts_with(&briquette_engine::blob::MAGIC) {
        return Some("is a briquette already: `briquette run` runs it");
    }
    is_safetensors(head).then_some("is a safetensors file: give the folder that it is in")
}

/// Whether the bytes begin as a safetensors file does: with the length of a
/// JSON object, and that.
pub(super) fn is_safetensors(head: &[u8]) -> bool {
    let Some((length, rest)) = head.split_first_chunk() else {
        return false;
    };
    let plausible = 2..=1_u64 << 27;
    plausible.contains(&u64::from_le_bytes(*length)) && rest.first() == Some(&b'{')
}

fn archive(head: &[u8]) -> Option<String> {
    let magics: [(&[u8], &str); 7] = [
        (b"PK\x03\x04", "zip"),
        (&[0x1f, 0x8b], "gzip"),
        (b"BZh", "bzip2"),
        (b"\xfd7zXZ\0", "xz"),
        (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"Rar!", "rar"),
    ];
    let known = magics.iter().find(|(magic, _)| head.starts_with(magic));
    let tar = head.get(257..262) == Some(b"ustar");
    let name = known.map(|(_, name)| *name).or(tar.then_some("tar"))?;
    Some(format!(
        "is packed in a {name} archive: unpack that, and give the folder or the .gguf file in it"
    ))
}

/// A small JSON object that speaks of an error and of little else.
fn server_error(head: &[u8]) -> Option<String> {
    let object = serde_json::from_slice::<Value>(head).ok()?;
    let object = object.as_object().filter(|object| object.len() <= 4)?;
    let error = object.get("error").or_else(|| object.get("message"))?;
    let text = error
        .as_str()
        .map_or_else(|| error.to_string(), str::to_owned);
    let text: String = text.chars().take(3 * QUOTED).collect();
    Some(format!(
        "is a server's error message (`{}`): download the file again",
        text.escape_debug()
    ))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_stranger_is_named() {
        let mut tar = vec![b'a'; 257];
        tar.extend(b"ustar\0");
        let cases: [(&[u8], &str); 19] = [
            (
                b"version https://git-lfs.github.com/spec/v1\noid sha256:ab",
                "Git LFS pointer",
            ),
            (b"\n<!DOCTYPE HTML>\n<html>", "HTML page"),
            (b"<html lang=\"en\">", "HTML page"),
            (b"<!-- served by x --><html>", "HTML page"),
            (
                b"<?xml version=\"1.0\"?><Error><Code>AccessDenied",
                "XML document",
            ),
            (
                b"{\"error\":\"Repository not found\"}",
                "`Repository not found`",
            ),
            (
                b"{\"message\": \"Forbidden\", \"code\": 403}",
                "`Forbidden`",
            ),
            (b"", "is empty"),
            (&[0; 64], "filled with zeros"),
            (b"\xff\xfe{\0", "UTF-16"),
            (b"PK\x03\x04....archive/data.pkl", "PyTorch"),
            (b"\x80\x02\x8a\x0al", "PyTorch"),
            (b"PK\x03\x04....config.json", "zip archive"),
            (b"\x1f\x8b\x08", "gzip archive"),
            (&tar, "tar archive"),
            (b"tjgg\x03\0\0\0", "before GGUF"),
            (b"GGUF\x03\0\0\0", "GGUF file"),
            (b"\x89HDF\r\n\x1a\n", "HDF5"),
            (b"\x40\0\0\0\0\0\0\0{\"a\":", "safetensors file"),
        ];
        for (head, expected) in cases {
            let found = describe(head).unwrap_or_default();
            assert!(found.contains(expected), "{expected}: {found}");
        }
    }

    #[test]
    fn what_a_checkpoint_has_is_no_stranger() {
        for head in [
            &b"{\"model_type\": \"llama\", \"error\": 1, \"a\": 1, \"b\": 2, \"c\": 3}"[..],
            b"{\"bos_token_id\": 1}",
            b"{% for message in messages %}<|im_start|>",
            b"<|im_start|>{{ messages }}",
        ] {
            assert_eq!(describe(head), None);
        }
        assert!(
            describe_binary(b"Entry not found")
                .unwrap()
                .contains("`Entry not found`")
        );
        assert_eq!(describe_binary(&[7, 1, 2, 3]), None);
    }
}
