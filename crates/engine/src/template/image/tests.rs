use std::collections::BTreeMap;

use ringfence_jail::check;
use ringfence_jail::proto::{LayerPlan, MESSAGE_BYTES_MAX, encode};

use super::{
    super::{
        plan::{self, HostSettings, Stage},
        recipe::Record,
    },
    *,
};

fn blob(number: usize) -> Blob {
    let hash = hex::encode(Sha256::digest(number.to_le_bytes()));
    Blob { name: format!("blobs/sha256/{hash}"), digest: Some(hash.clone()), size: 1, diff_id: hash }
}

fn report(layers: usize) -> ImageReport {
    ImageReport {
        digest: format!("sha256:{}", "a".repeat(64)),
        platform: "linux/amd64".into(),
        layers: (0..layers).map(blob).collect(),
        env: [("PATH", "/opt/bin:.:/bin:/usr/bin"), ("HOME", "/root"), ("A", "of the image"), ("B", "2"), ("C D", "3")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        working_dir: "/srv/app".into(),
        user: "node:node".into(),
        start: ["/bin/app", "it's", "$HOME"].map(str::to_owned).into(),
    }
}

fn recipe(lines: &str) -> Recipe {
    Recipe::read(&format!("name='a'\ndescription='b'\nlanguage='bash'\noci='image.tar'\n{lines}\n")).expect("a recipe")
}

fn stages(recipe: &Recipe) -> Vec<Stage> {
    plan::stages(recipe, &HostSettings::default())
}

#[test]
fn what_the_recipe_does_not_say_the_image_does() {
    let over = recipe("[env]\nA='of the recipe'").over(report(1)).expect("it can be used");
    let expected = [("A", "of the recipe"), ("B", "2"), ("PATH", "/home/user/.local/bin:/opt/bin:.:/bin:/usr/bin")];
    assert_eq!(over.env, BTreeMap::from(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))));
    assert_eq!((over.user.as_str(), over.working_dir(), &over.start), ("node", "/srv/app", &None));
    assert_eq!(over.image.expect("known").path, ["/opt/bin", "/bin", "/usr/bin"]);
    let own = recipe("user='app'\nworking_dir='/opt/x'").over(report(1)).expect("it can be used");
    assert_eq!((own.user.as_str(), own.working_dir()), ("app", "/opt/x"));
    for (user, dir) in [("root", "/"), ("1001", "/tmp/x"), ("Has Space", "/srv/$(id)"), ("", "")] {
        let odd = ImageReport { user: user.into(), working_dir: dir.into(), ..report(1) };
        let over = recipe("").over(odd).expect("it can be used");
        assert_eq!((over.user.as_str(), over.working_dir()), ("user", "/home/user"), "{user} {dir}");
    }
}

#[test]
fn what_an_image_starts_is_started_when_the_recipe_asks() {
    let over = recipe("oci_start=true").over(report(1)).expect("it can be used");
    assert_eq!(over.start.as_deref(), Some(r"exec '/bin/app' 'it'\''s' '$HOME'"));
    let none = ImageReport { start: Vec::new(), ..report(1) };
    assert!(recipe("oci_start=true").over(none).is_err());
    let long = ImageReport { start: vec!["x".repeat(20 << 10)], ..report(1) };
    assert!(recipe("oci_start=true").over(long).is_err());
    let nul = ImageReport { start: vec!["a\0b".into()], ..report(1) };
    assert!(recipe("oci_start=true").over(nul).is_err());
}

#[test]
fn a_layer_of_an_image_is_known_by_what_is_in_it() {
    let of = |report: ImageReport| stages(&recipe("[[build]]\nrun='true'").over(report).expect("it can be used"));
    let keys = |stages: &[Stage]| stages.iter().map(|stage| stage.key.clone()).collect::<Vec<_>>();
    let first = keys(&of(report(3)));
    assert_eq!(first.len(), 5);
    // Compressed otherwise, under another name, by another manifest.
    let mut other = report(3);
    other.digest = format!("sha256:{}", "b".repeat(64));
    for blob in &mut other.layers {
        (blob.name, blob.digest, blob.size) = ("elsewhere".into(), None, 7);
    }
    assert_eq!(keys(&of(other)), first);
    let longer = keys(&of(report(4)));
    assert!(longer[..3] == first[..3] && longer[3] != first[3]);
    let mut changed = report(3);
    changed.layers[1].diff_id = "c".repeat(64);
    let changed = keys(&of(changed));
    assert!(changed[0] == first[0] && changed[1] != first[1] && changed[2] != first[2]);
}

/// A root file system has 32 layers, of which three are ringfence's own, and an export adds two.
#[test]
fn many_layers_become_few_and_the_jailer_takes_them() {
    for (layers, of_image) in [(1, 1), (11, 11), (12, 12), (128, 12)] {
        let more = "lock='l'\nstrip=['/usr/share/x']\ncheck='c.sh'\n[[files]]\nfrom='f'\nto='/srv/f'\n[[build]]\nrun='true'\n\
                    [[build]]\nrun='true'\n[[build]]\nrun='true'";
        let recipe = recipe(more).over(report(layers)).expect("it can be used");
        let stages = stages(&recipe);
        assert_eq!(stages.len(), of_image + 1 + 6, "{layers}");
        assert!(stages.len() + 5 + 4 <= check::LAYERS_MAX, "with Node and three apps");
        let below = vec![LayerDigest::parse(&"a".repeat(64)).expect("64 digits"); 12];
        let mut blobs = Vec::new();
        for work in stages.iter().filter_map(|stage| stage.image.as_ref()) {
            let work = work.plan("tree", if blobs.is_empty() { &[] } else { &below });
            if let LayerWork::Apply { blobs: of_it, .. } = &work {
                blobs.extend(of_it.clone());
            }
            let plan = LayerPlan { step: 1, work, timeout_ms: 1000 };
            assert_eq!(check::layer_step(&plan), Ok(()));
            assert!(encode(&plan).expect("it fits").len() < MESSAGE_BYTES_MAX / 2);
        }
        assert_eq!(blobs, (0..layers).map(blob).collect::<Vec<_>>(), "each once, in order");
        // Debian's own tidying is for what ringfence has installed.
        let tidied = stages.iter().flat_map(|stage| &stage.steps).filter(|step| step.files[0].0 == "tidy.sh").count();
        assert_eq!(tidied, 0);
    }
}

#[test]
fn a_record_knows_its_image() {
    let mut recipe = recipe("").over(report(2)).expect("it can be used");
    let record = Record::of(&recipe);
    if let Some(image) = &mut recipe.image {
        // Where its layers were is of no use afterwards.
        (image.blobs, image.path) = (Vec::new(), Vec::new());
    }
    let read = Record::from_json(&record.to_json()).expect("it is read");
    assert_eq!((&read.recipe, &read.image, &read.key), (&recipe, &recipe.image, &record.key));
    let image = recipe.image.expect("known");
    assert!(image.is_plain());
    assert!(!Image { digest: "sha256:x".into(), ..image.clone() }.is_plain());
    assert!(!Image { platform: "linux/\u{1b}[2J".into(), ..image }.is_plain());
}

#[test]
fn recipes_begin_with_debian_or_with_an_image() {
    let read = |lines: &str| Recipe::read(&format!("name='a'\ndescription='b'\nlanguage='bash'\n{lines}\n"));
    assert!(read("oci='image.tar'").is_ok() && read("debian='bookworm'").is_ok());
    for lines in [
        "",
        "oci='../x'",
        "oci='/etc/x'",
        "oci='image.tar'\ndebian='bookworm'",
        "oci='image.tar'\npackages=['jq']",
        "oci='image.tar'\noci_start=true\nstart='true'",
        "oci='image.tar'\noci_tag='a b'",
        "debian='bookworm'\noci_tag='x'",
        "debian='bookworm'\noci_start=true",
        "oci='image.tar'\n[image]\ndigest='x'",
    ] {
        assert!(read(lines).is_err(), "{lines}");
    }
}
