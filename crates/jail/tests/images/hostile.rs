//! Layers that reach out, and archives that lie.

use std::{fs, os::unix::fs::MetadataExt};

use serde_json::{Value, json};

use crate::bench::{Encoding, Entry, Image, Scene, dir, file, gzip, hard, link, look, outer, tar, whiteout};

/// What reaches out of a naive reader's tree is refused, or lands in ours; outside there is nothing new and nothing changed.
#[track_caller]
fn stays_inside(entries: impl Fn(&Scene) -> Vec<Entry>, is_refused: Option<&str>) -> Scene {
    let is_untouched = |scene: &Scene| {
        let names = fs::read_dir(scene.outside()).expect("a directory").count();
        let secret = scene.outside().join("secret");
        let links = fs::metadata(&secret).expect("there").nlink();
        names == 1 && links == 1 && fs::read_to_string(&secret).expect("there") == "of the host"
    };
    let control = Scene::new();
    control.naive(&entries(&control));
    assert!(!is_untouched(&control), "the control: a naive reader reaches out");

    let scene = Scene::new();
    let made = entries(&scene);
    let unpacked = scene.unpack(&Image::of(&[tar(&made)]).archive());
    assert!(is_untouched(&scene), "{unpacked:?}");
    // In layers of their own, too.
    let apart = Scene::new();
    let layers: Vec<Vec<u8>> = entries(&apart).iter().map(|entry| tar(std::slice::from_ref(entry))).collect();
    let one_by_one = apart.unpack(&Image::of(&layers).archive());
    assert!(is_untouched(&apart), "{one_by_one:?}");
    for unpacked in [unpacked, one_by_one] {
        match is_refused {
            Some(why) => assert!(unpacked.as_ref().is_err_and(|error| error.contains(why)), "{unpacked:?}"),
            None => assert!(unpacked.is_ok(), "{unpacked:?}"),
        }
    }
    scene
}

#[test]
fn paths_that_lead_out_are_refused() {
    stays_inside(|_| vec![file("../outside/new", "x")], Some("elsewhere"));
    stays_inside(|_| vec![dir("a"), file("a/../../outside/new", "x")], Some("elsewhere"));
    stays_inside(|_| vec![file("../outside/secret", "x")], Some("elsewhere"));
}

#[test]
fn an_absolute_path_is_one_of_the_image() {
    let scene = Scene::new();
    let at = format!("{}/new", scene.outside().display());
    scene.unpack(&Image::of(&[tar(&[file(&at, "x")])]).archive()).expect("it is unpacked");
    assert!(!scene.outside().join("new").exists() && scene.path(at.trim_start_matches('/')).exists());
}

#[test]
fn writing_through_a_link_stays_in_the_tree() {
    let outside = |scene: &Scene| scene.outside().display().to_string();
    let scene = stays_inside(|scene| vec![link("out", &outside(scene)), dir("out"), file("out/new", "x")], None);
    assert!(scene.path("out").is_dir() && scene.read("out/new") == "x", "the directory took the link's place");
    // Nothing is there where the link leads, in the tree: it is made there.
    let into = |target: String| {
        Scene::new().unpack(&Image::of(&[tar(&[link("out", &target), file("out/new", "x")])]).archive())
    };
    assert!(into("/somewhere".into()).is_ok());
    let scene = stays_inside(|_| vec![link("up", "../outside"), file("up/new", "x")], None);
    assert_eq!(scene.read("outside/new"), "x", "`..` of the root is the root");
    // A file over a link replaces the link.
    let scene =
        stays_inside(|scene| vec![link("secret", &format!("{}/secret", outside(scene))), file("secret", "x")], None);
    assert_eq!(scene.read("secret"), "x");
}

#[test]
fn hard_links_lead_to_files_of_the_tree() {
    stays_inside(|_| vec![hard("mine", "../outside/secret")], Some("elsewhere"));
    let refuse = |entries: &[Entry], why: &str| {
        let refused = Scene::new().unpack(&Image::of(&[tar(entries)]).archive()).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    };
    let scene = Scene::new();
    let secret = format!("{}/secret", scene.outside().display());
    refuse(&[hard("mine", &secret)], "not there");
    refuse(&[link("out", &scene.outside().display().to_string()), hard("mine", "out/secret")], "not there");
    refuse(&[dir("d"), hard("mine", "d")], "no file");
    refuse(&[hard("mine", "mine")], "not there");
    // A link is linked as such, and leads nowhere new.
    scene
        .unpack(&Image::of(&[tar(&[link("l", &secret), hard("m", "l"), file("m", "x")])]).archive())
        .expect("unpacked");
    assert_eq!((scene.read("m"), fs::read_to_string(&secret).expect("there")), ("x".into(), "of the host".into()));
}

#[test]
fn whiteouts_hide_nothing_outside() {
    let scene = Scene::new();
    let refuse = |entries: &[Entry], why: &str| {
        let refused = scene.unpack(&Image::of(&[tar(entries)]).archive()).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    };
    refuse(&[file(".wh...", "")], "no name");
    refuse(&[file(".wh..", "")], "no name");
    refuse(&[file(".wh.", "")], "no name");
    refuse(&[whiteout("../outside/secret")], "elsewhere");
    let out = scene.outside().display().to_string();
    let through = [vec![link("out", &out)], vec![whiteout("out/secret")], vec![file("out/.wh..wh..opq", "")]];
    let layers: Vec<Vec<u8>> = through.iter().map(|entries| tar(entries)).collect();
    scene.unpack(&Image::of(&layers).archive()).expect("there is nothing to hide");
    assert!(scene.outside().join("secret").exists());
}

#[test]
fn circles_and_depths_end() {
    let refuse = |entries: &[Entry], why: &str| {
        let refused = Scene::new().unpack(&Image::of(&[tar(entries)]).archive()).expect_err("refused");
        assert!(refused.contains(why), "{refused}");
    };
    refuse(&[link("a", "b"), link("b", "a"), file("a/x", "")], "circles");
    refuse(&[link("a", "a/a/a/a/a/a"), file("a/x", "")], "circles");
    let deep: Vec<Entry> = (0..40).map(|level| link(&format!("l{level}"), &format!("l{}/d/d/d", level + 1))).collect();
    refuse(&[deep, vec![file("l0/x", "")]].concat(), "deeper");
}

#[track_caller]
fn refuse(image: Image, why: &str) {
    let refused = Scene::new().unpack(&image.archive()).expect_err("refused");
    assert!(refused.contains(why), "{refused}");
}

fn honest() -> Image {
    Image::of(&[tar(&[file("a", "one")]), tar(&[file("b", "two")])])
}

#[test]
fn every_blob_has_the_digest_that_names_it() {
    assert!(Scene::new().unpack(&honest().archive()).is_ok(), "the control");
    // The time in gzip's header: what is in it is the same.
    refuse(Image { spoil: |bytes| bytes[4] ^= 1, ..honest() }, "was changed");
    refuse(Image { spoil: |bytes| *bytes.last_mut().expect("some") ^= 1, ..honest() }, "");
    refuse(Image { spoil: |bytes| bytes.truncate(bytes.len() - 10), ..honest() }, "bytes, and not");
    let wrong = |value: &mut Value| value["rootfs"]["diff_ids"][0] = json!(format!("sha256:{}", "0".repeat(64)));
    refuse(Image { config: wrong, ..honest() }, "and not 0000");
    let swapped = |value: &mut Value| value["layers"].as_array_mut().expect("a list").swap(0, 1);
    refuse(Image { manifest: swapped, ..honest() }, "and not");
    // A manifest, or a configuration, that was changed after its digest was made.
    for (name, with) in [("config", "\"os\":\"linux\""), ("manifest", "\"schemaVersion\":2")] {
        let mut files = honest().files();
        let changed = files.iter_mut().find(|(_, bytes)| {
            let text = String::from_utf8_lossy(bytes);
            text.contains(with) && !text.contains("\"manifests\"")
        });
        let (_, bytes) = changed.expect("there");
        *bytes = String::from_utf8(bytes.clone()).expect("JSON").replacen(with, &format!("{with} "), 1).into_bytes();
        let refused = look(&outer(&files), None).expect_err("refused");
        assert!(refused.contains("was changed"), "{name}: {refused}");
    }
    let of_another_kind =
        |value: &mut Value| value["layers"][0]["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    refuse(Image { manifest: of_another_kind, ..honest() }, "no SHA-256");
    let path = |value: &mut Value| value["layers"][0]["digest"] = json!("sha256:../../../etc/passwd");
    refuse(Image { manifest: path, ..honest() }, "no SHA-256");
}

#[test]
fn what_is_cut_off_or_grows_without_end_is_refused() {
    // Cut off within its compressed data, with digests that say so: every check but the content's passes.
    let mut files = Image::of(&[tar(&[file("a", &"text ".repeat(1000))])]).files();
    let whole = files[1].1.clone();
    let cut = whole[..whole.len() - 20].to_vec();
    let name = format!("blobs/sha256/{}", crate::bench::sha256(&cut));
    let manifest = files.iter().position(|(_, b)| String::from_utf8_lossy(b).contains("\"layers\":[{")).expect("one");
    let text = String::from_utf8(files[manifest].1.clone()).expect("JSON");
    let old = files[1].0.rsplit('/').next().expect("a name").to_owned();
    let text = text
        .replace(&old, name.rsplit('/').next().expect("a name"))
        .replace(&format!("\"size\":{}", whole.len()), &format!("\"size\":{}", cut.len()));
    files[1] = (name, cut);
    let digest = crate::bench::sha256(text.as_bytes());
    files[manifest] = (format!("blobs/sha256/{digest}"), text.clone().into_bytes());
    let last = files.len() - 1;
    files[last].1 = json!({"manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": format!("sha256:{digest}"), "size": text.len()}]})
    .to_string()
    .into_bytes();
    let refused = Scene::new().unpack(&outer(&files)).expect_err("refused");
    assert!(refused.contains("cannot be read"), "{refused}");

    // 200 MiB of nothing in 200 KiB.
    let bomb = |size: usize| Image::of(&[tar(&[Entry { content: vec![0; size], ..file("zeros", "") }])]);
    for encoding in [Encoding::Gzip, Encoding::Zstd] {
        let refused = Scene::new().unpack_within(&bomb(200 << 20).encoding(encoding).archive(), 1 << 40);
        assert!(refused.as_ref().is_err_and(|error| error.contains("times its size")), "{encoding:?}: {refused:?}");
        let taken = Scene::new().unpack_within(&bomb(32 << 20).encoding(encoding).archive(), 1 << 40);
        assert!(taken.is_ok(), "the control: {taken:?}");
    }
    let refused = Scene::new().unpack_within(&bomb(32 << 20).archive(), 16 << 20).expect_err("refused");
    assert!(refused.contains("more than 16777216 bytes"), "{refused}");
}

#[test]
fn manifests_have_bounds() {
    let many = |value: &mut Value| {
        let layer = value["layers"][0].clone();
        value["layers"] = Value::Array(vec![layer; 1000]);
    };
    refuse(Image { manifest: many, ..honest() }, "1000 layers");
    // A million of them are more than a manifest has bytes for.
    let million = |value: &mut Value| value["layers"] = Value::Array(vec![json!({}); 1_000_000 * 2]);
    refuse(Image { manifest: million, ..honest() }, "more than 4194304 bytes");
    let few = |value: &mut Value| drop(value["layers"].as_array_mut().expect("a list").pop());
    refuse(Image { manifest: few, ..honest() }, "1 layers, and its configuration 2");
    let none = |value: &mut Value| value["layers"] = json!([]);
    refuse(Image { manifest: none, config: |value| value["rootfs"]["diff_ids"] = json!([]), ..honest() }, "0 layers");
    let env = |value: &mut Value| value["config"]["Env"] = json!([format!("A={}", "x".repeat(100_000))]);
    refuse(Image { config: env, ..honest() }, "65536");
    // Arrays in one another, in a field that nobody reads and in one that is.
    for deep in [
        format!("{{\"x\":{}", "[".repeat(100_000)),
        "[".repeat(100_000),
        format!("{{\"manifests\":{}", "[".repeat(100_000)),
    ] {
        let mut files = honest().files();
        files.last_mut().expect("the index").1 = deep.into_bytes();
        let refused = look(&outer(&files), None).expect_err("refused");
        assert!(refused.contains("index.json cannot be read"), "{refused}");
    }
    // Indexes that lead to themselves, as far as digests allow it: many below one another.
    let nested = |value: &mut Value| {
        let manifest = value["manifests"][0].clone();
        value["manifests"] = Value::Array(vec![manifest; 300]);
    };
    refuse(Image { index: nested, ..honest() }, "256 manifests");
}

#[test]
fn layers_from_elsewhere_and_secret_ones_are_refused() {
    let kind = |kind: &'static str| -> String {
        let mut image = honest();
        image.manifest = match kind {
            "foreign" => {
                |v| v["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip")
            }
            "urls" => |v| v["layers"][0]["urls"] = json!(["https://example.com/layer"]),
            "encrypted" => {
                |v| v["layers"][0]["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted")
            }
            _ => |v| v["layers"][0]["mediaType"] = json!("application/vnd.wasm.content.layer.v1+wasm"),
        };
        look(&image.archive(), None).expect_err("refused")
    };
    assert!(kind("foreign").contains("elsewhere") && kind("urls").contains("elsewhere"));
    assert!(kind("encrypted").contains("encrypted"));
    assert!(kind("other").contains("wasm"));
}

#[test]
fn the_archive_itself_is_one_that_is_read_in_one_way() {
    let refused = |archive: &[u8]| look(archive, None).expect_err("refused");
    assert!(refused(&gzip(&honest().archive())).contains("compressed as a whole"));
    assert!(refused(b"PK\x03\x04 and so on, for long enough to be a block").contains("cannot be read"));
    assert!(refused(&[b'x'; 4096]).contains("no tar"));
    assert!(refused(&tar(&[file("a", "b")])).contains("neither"));
    let mut twice = honest().files();
    twice.push(twice[0].clone());
    assert!(refused(&outer(&twice)).contains("twice"));
    let mut out = honest().files();
    out.push(("../index.json".into(), Vec::new()));
    assert!(refused(&outer(&out)).contains("elsewhere"));
    let mut missing = honest().files();
    missing.remove(1);
    assert!(refused(&outer(&missing)).contains("is missing"));
    let many: Vec<Entry> = (0..5000).map(|number| file(&format!("f{number}"), "")).collect();
    assert!(refused(&tar(&many)).contains("4096 files"));
}
