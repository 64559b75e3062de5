//! Paths that people give.

use std::fs;
use std::path::Path;

use super::*;

/// Writes an empty file, and the folders around it.
fn touch(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "{}").unwrap();
}

fn refusal(path: &Path) -> String {
    let text = locate(path).unwrap_err().to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    text
}

#[test]
fn a_root_in_the_cache_leads_to_its_snapshot() {
    let place = tempfile::tempdir().unwrap();
    let root = place.path().join("models--acme--tiny-1b");
    let (one, two) = ("a".repeat(40), "b".repeat(40));
    touch(&root.join("snapshots").join(&one).join("config.json"));
    let folder = root.join("snapshots").join(&one);
    assert_eq!(
        locate(&root).unwrap(),
        CheckpointPath::Folder(folder.clone())
    );
    assert_eq!(cached_name(&folder).as_deref(), Some("tiny-1b"));

    touch(&root.join("snapshots").join(&two).join("config.json"));
    let text = refusal(&root);
    assert!(
        text.contains("several snapshots") && text.contains(&one),
        "{text}"
    );
    touch(&root.join("refs/main"));
    fs::write(root.join("refs/main"), format!("{two}\n")).unwrap();
    let folder = root.join("snapshots").join(&two);
    assert_eq!(
        locate(&root).unwrap(),
        CheckpointPath::Folder(folder.clone())
    );

    fs::remove_file(folder.join("config.json")).unwrap();
    assert!(
        locate(&root)
            .unwrap_err()
            .to_string()
            .contains("has no config.json")
    );
    assert!(refusal(place.path()).contains("cache of several models"));
}

#[test]
fn a_file_of_a_folder_leads_to_the_folder() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("model");
    for name in [
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "tokenizer.json",
    ] {
        touch(&folder.join(name));
        let text = refusal(&folder.join(name));
        let expected = format!("give the folder that it is in, {}", folder.display());
        assert!(text.contains(&expected), "{name}: {text}");
    }
    // By its content, whatever its name.
    fs::write(folder.join("weights"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    assert!(refusal(&folder.join("weights")).contains("give the folder"));
}

#[test]
fn what_is_not_there_may_have_to_be_downloaded() {
    for path in [
        "acme/Tiny-1B",
        "https://huggingface.co/acme/Tiny-1B",
        "https://huggingface.co/acme/Tiny-1B/tree/main",
    ] {
        let text = refusal(Path::new(path));
        let expected = "hf download acme/Tiny-1B --local-dir Tiny-1B";
        assert!(text.contains(expected), "{text}");
    }
    for path in [
        "nowhere",
        "./acme/tiny",
        "/acme/tiny",
        "src/tiny",
        "acme/tiny.gguf",
        "a/b/c",
    ] {
        let text = refusal(Path::new(path));
        assert!(text.ends_with("there is no such file or folder"), "{text}");
    }
}

#[test]
fn folders_without_a_configuration_say_what_they_are() {
    let cases = [
        ("tiny.Q4_K.gguf", "give one of them"),
        ("adapter_config.json", "merge_and_unload"),
        ("params.json", "Meta's or Mistral's own form"),
        ("tiny/config.json", "folders in it have one"),
        ("model.onnx", "ONNX"),
        ("pytorch_model.bin", "PyTorch's own format"),
        ("consolidated.00.pth", "PyTorch's own format"),
        ("README.md", "give the folder of a Hugging Face checkpoint"),
    ];
    for (name, expected) in cases {
        let place = tempfile::tempdir().unwrap();
        touch(&place.path().join(name));
        let text = refusal(place.path());
        assert!(text.contains(expected), "{name}: {text}");
    }
}

#[test]
fn files_of_other_programs_are_named() {
    let place = tempfile::tempdir().unwrap();
    for (name, expected) in [
        ("model.onnx", "ONNX"),
        ("model.pt", "PyTorch"),
        ("model.tflite", "TensorFlow Lite"),
    ] {
        let path = place.path().join(name);
        fs::write(&path, [1, 2, 3, 4]).unwrap();
        assert!(refusal(&path).contains(expected), "{name}");
    }
    let gguf = place.path().join("model.bin");
    fs::write(&gguf, b"GGUF\x03\0\0\0").unwrap();
    assert_eq!(locate(&gguf).unwrap(), CheckpointPath::Gguf(gguf));
}

#[cfg(unix)]
#[test]
fn links_to_nothing_and_pipes_are_named() {
    use std::os::unix::fs::symlink;
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("link");
    symlink("/nowhere/blob", &link).unwrap();
    assert!(refusal(&link).contains("is a link to /nowhere/blob"));
    let folder = place.path().join("folder");
    fs::create_dir(&folder).unwrap();
    symlink("../blobs/abc", folder.join("config.json")).unwrap();
    assert!(refusal(&folder).contains("config.json is a link to ../blobs/abc"));
    assert!(refusal(Path::new("/dev/null")).contains("neither a file nor a folder"));
}
