//! Folders with packed models.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::thread::JoinHandle;

use serde_json::Value;
use tempfile::TempDir;

use crate::command::{golden, json, repository, succeed};
use crate::peer::serve;

/// A folder with `tiny-v3`, packed.
pub struct Workplace {
    folder: TempDir,
}

impl Workplace {
    /// Packs the model.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let place = Self { folder };
        let model = place.path("model.briq");
        succeed(&["pack", &golden("tiny-v3"), "-o", &model, "--weights", "q8"]);
        place
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Names of all files, partial ones included.
    pub fn files(&self) -> Vec<String> {
        let entries = fs::read_dir(self.folder.path()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

/// A copy of a golden folder, to be damaged.
pub fn copy_of(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let to = folder.path().join(path.file_name().unwrap());
        fs::write(to, fs::read(&path).unwrap()).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

/// What `sentry` is asked.
pub const QUESTION: &str = "oven 9 max 8 tank 20 min 14 alarms ?";

/// What it thinks about that.
pub const THOUGHT: &str = "oven 9 > 8 hi ; tank 20 > 14 ok";

/// A folder with `sentry`, packed, and room for a device.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// Packs the model.
    pub fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let sentry = repository().join("models/sentry");
        let sentry = sentry.to_str().unwrap();
        let model = place.path("model.briq");
        succeed(&[
            "pack",
            sentry,
            "-o",
            &model,
            "--weights",
            "q4",
            "--context",
            "96",
        ]);
        place
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// The packed model.
    pub fn model(&self) -> String {
        self.path("model.briq")
    }

    /// A peer at the other end of a socket, who answers the first connection.
    pub fn peer(&self, life: impl FnOnce(UnixStream) + Send + 'static) -> (String, JoinHandle<()>) {
        let path = self.path("line");
        let _ = fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        let life = std::thread::spawn(move || life(listener.accept().unwrap().0));
        (format!("unix:{path}"), life)
    }

    /// A device with the model.
    pub fn device(&self) -> (String, JoinHandle<()>) {
        let model = self.model();
        self.peer(move |stream| {
            let input = stream.try_clone().unwrap();
            serve(&model, input, stream);
        })
    }
}

/// What the tool itself says to the question.
pub fn expected(place: &Place) -> Value {
    let answer = json(&[
        "run",
        &place.model(),
        "-p",
        QUESTION,
        "--guarantee",
        "-n",
        "64",
    ]);
    assert_eq!(answer["thinking"], THOUGHT);
    answer
}
