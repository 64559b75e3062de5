//! Stand-ins for builds, other programs and boards of one's own.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::place::Place;

/// Writes an executable script.
pub fn script(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, format!("#!/bin/sh\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A profile of one's own.
pub fn profile(place: &Place, name: &str, firmware: &str) -> String {
    let path = place.path(name);
    let text = format!(
        "description = \"my board\"\nram_bytes = 300000\nreserved_ram_bytes = 0\n\
         flash_bytes = 300000\nreserved_flash_bytes = 0\n{firmware}"
    );
    fs::write(&path, text).unwrap();
    path
}
