mod authority;
mod ends;
mod hello;
mod sniff;

use std::path::PathBuf;

/// The seeds of the fuzz target for first bytes: real clients' first bytes.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/hello");
    let mut seeds: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect();
    seeds.sort();
    assert!(seeds.len() >= 10, "{} seeds", seeds.len());
    seeds
}

fn seed(name: &str) -> Vec<u8> {
    seeds().into_iter().find(|(seed, _)| seed == name).unwrap_or_else(|| panic!("no seed {name}")).1
}

/// A ClientHello in one record, with these extensions.
fn hello_with(extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend([0, 2, 0x13, 0x01, 1, 0]);
    let extensions: Vec<u8> = extensions
        .iter()
        .flat_map(|(kind, content)| {
            [&kind.to_be_bytes(), &u16::try_from(content.len()).unwrap().to_be_bytes(), content.as_slice()].concat()
        })
        .collect();
    body.extend(u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend(extensions);
    let mut message = vec![1];
    message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
    message.extend(body);
    records(&message, &[])
}

/// Handshake bytes in records that are cut at these places.
fn records(message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % message.len()).filter(|cut| *cut > 0).collect();
    cuts.sort_unstable();
    cuts.dedup();
    cuts.insert(0, 0);
    cuts.push(message.len());
    let mut bytes = Vec::new();
    for pair in cuts.windows(2) {
        let part = &message[pair[0]..pair[1]];
        bytes.extend([22, 3, 1]);
        bytes.extend(u16::try_from(part.len()).unwrap().to_be_bytes());
        bytes.extend(part);
    }
    bytes
}

/// The content of a server_name extension with these names.
fn server_names(names: &[&[u8]]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|name| [&[0], &u16::try_from(name.len()).unwrap().to_be_bytes()[..], name].concat())
        .collect();
    [&u16::try_from(list.len()).unwrap().to_be_bytes()[..], &list].concat()
}
