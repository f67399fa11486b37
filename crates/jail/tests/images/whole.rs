//! What is said of an image.

use serde_json::json;

use crate::bench::{Image, Scene, file, look, outer, sha256, tar};

fn image() -> Image {
    Image::of(&[tar(&[file("a", "one")])])
}

#[test]
fn an_image_is_known_by_the_digest_of_its_manifest() {
    let report = look(&image().archive(), None).expect("it is read");
    let files = image().files();
    let blob = format!("blobs/sha256/{}", report.digest.trim_start_matches("sha256:"));
    let (_, manifest) = files.iter().find(|(name, _)| *name == blob).expect("the manifest's");
    assert!(blob.ends_with(&sha256(manifest)) && String::from_utf8_lossy(manifest).contains("\"layers\":["));
    assert_eq!((report.platform.as_str(), report.layers.len()), ("linux/amd64", 1));
    assert_eq!(report.env, [("PATH".into(), "/opt/bin:/usr/bin".into()), ("A".into(), "b=c".into())]);
    assert_eq!((report.working_dir.as_str(), report.user.as_str()), ("/srv", "app:app"));
    assert_eq!(report.start, ["/bin/app", "it's"]);
}

#[test]
fn of_several_the_one_of_this_machine_or_of_the_tag_is_taken() {
    let arm = Image { architecture: "arm64", ..Image::of(&[tar(&[file("a", "arm")])]) };
    let both = |tags: [&str; 2], of: [Image; 2]| {
        let mut files = Vec::new();
        let mut manifests = Vec::new();
        for (image, tag) in of.iter().zip(tags) {
            let mut own = image.files();
            let index: serde_json::Value = serde_json::from_slice(&own.pop().expect("the index").1).expect("JSON");
            let mut descriptor = index["manifests"][0].clone();
            descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
            manifests.push(descriptor);
            files.append(&mut own);
        }
        files.push(("index.json".into(), json!({"manifests": manifests}).to_string().into_bytes()));
        files.sort();
        files.dedup();
        outer(&files)
    };
    let report = look(&both(["x", "x"], [arm, image()]), None).expect("one is for this machine");
    assert_eq!(report.platform, "linux/amd64");
    let other = || Image::of(&[tar(&[file("a", "two")])]);
    let two = both(["first", "second"], [image(), other()]);
    let refused = look(&two, None).expect_err("which one?");
    assert!(refused.contains("oci_tag") && refused.contains("first") && refused.contains("second"), "{refused}");
    let second = look(&two, Some("second")).expect("it is named");
    assert_eq!(second.digest, look(&other().archive(), None).expect("alone").digest);
    assert!(
        look(&two, Some("third")).expect_err("there is none").contains("no image for linux/amd64 of the tag third")
    );
    let arm = Image { architecture: "arm64", ..image() };
    let refused = look(&arm.archive(), None).expect_err("not this machine's");
    assert!(refused.contains("no image for linux/amd64") && refused.contains("linux/arm64"), "{refused}");
}

#[test]
fn what_old_versions_of_docker_save_is_read_too() {
    let image = Image::of(&[tar(&[file("a", "one")]), tar(&[file("b", "two")])]);
    let report = look(&image.docker(), None).expect("it is read");
    assert_eq!((report.layers.len(), report.digest.len()), (2, 71));
    assert!(look(&image.docker(), Some("1")).is_ok() && look(&image.docker(), Some("2")).is_err());
    let scene = Scene::new();
    scene.unpack(&image.docker()).expect("it is unpacked");
    assert_eq!(scene.listed(), ["a", "b"]);
    // The digest of what is in a layer is all that there is; it is checked.
    let mut spoilt = image.docker();
    let at = spoilt.windows(3).rposition(|window| window == b"two").expect("there");
    spoilt[at] = b'T';
    assert!(Scene::new().unpack(&spoilt).expect_err("refused").contains("and not"));
}
