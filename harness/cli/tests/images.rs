//! The images that the built program writes: the bundled server, which shares no code with what writes them, reads
//! them.
#![allow(clippy::unwrap_used)]

mod common;

use common::{Place, fit, text};

/// Imports an archive or a directory into a store of its own and gives the ids of what it held.
fn imported(place: &Place, source: &str) -> usize {
    let (root, state) = (place.path().join(format!("{source}-root")), place.path().join("state"));
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_plimsoll"))
        .args(["cri", "--root"])
        .arg(root)
        .arg("--state")
        .arg(state)
        .args(["images", "import"])
        .arg(place.path().join(source))
        .output()
        .unwrap();
    assert!(output.status.success(), "{source}: {}", text(&output));
    text(&output).lines().filter(|l| l.starts_with("sha256:")).count()
}

#[test]
fn exported_images_can_be_imported() {
    if !fit() {
        return;
    }
    let place = Place::new();
    let at = |name: &str| place.path().join(name).display().to_string();
    let two = ["--image", "plain", "--image", "labels"];
    for (name, more) in
        [("layout", &[][..]), ("archive.tar", &[][..]), ("docker.tar", &["--layout", "docker-archive"][..])]
    {
        let (output, _) = place.run(&[&["images", "export", &at(name)], &two[..], more].concat());
        assert!(output.status.success(), "{}", text(&output));
        assert_eq!(imported(&place, name), 2, "{name}");
    }
    let (output, _) = place.run(&["images", "export", "self", &at("self.tar")]);
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("plimsoll.test/plimsoll:latest"));
    assert_eq!(imported(&place, "self.tar"), 1);
}

#[test]
fn what_cannot_be_written_is_told() {
    let place = Place::new();
    let taken = place.path().display().to_string();
    for (args, code, want) in [
        (&["images", "export", &taken][..], 2, "exists already"),
        (&["images", "export", "x", "--image", "nonsense"], 2, "no image is called"),
        (&["images", "export", "x", "y"], 2, "one path too many"),
        (&["images", "push", "nonsense"], 2, "HOST:PORT"),
        (&["images", "push", "127.0.0.1:1", "--image", "pause"], 3, "is it running"),
    ] {
        let (output, _) = place.run(args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output));
        assert!(text(&output).contains(want), "{args:?}: {}", text(&output));
    }
}

#[test]
fn the_list_names_what_can_be_exported() {
    let place = Place::new();
    let (output, _) = place.run(&["images", "list"]);
    let said = text(&output);
    assert!(output.status.success());
    for name in ["pause ", "plain ", "zstd ", "multi-platform "] {
        assert!(said.contains(name), "{said}");
    }
}
