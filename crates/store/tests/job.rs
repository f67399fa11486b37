//! Jobs and their parts.

mod support;

use ringfence_model::{JobId, Project};
use ringfence_store::{Actor, JobPartRow, JobRow, SecretValue};
use serde_json::json;
use support::Place;

fn job(number: u8, kind: &str) -> JobRow {
    JobRow {
        id: JobId::from_random(kind, [number; 16]),
        kind: kind.into(),
        name: None,
        actor: Actor::Agent,
        project: Project::default(),
        status: "running".into(),
        request: json!({"symbols": ["AAPL"], "n": number}),
        state: json!({}),
        created_at_ms: 1_000 + u64::from(number),
        changed_at_ms: 1_000 + u64::from(number),
        ended_at_ms: None,
    }
}

fn part(number: u64, body: serde_json::Value) -> JobPartRow {
    JobPartRow { number, status: "done".into(), body, changed_at_ms: 5_000 + number }
}

#[tokio::test]
async fn a_job_and_its_parts_are_read_as_they_were_written_last() {
    let place = Place::new();
    let store = place.open();
    let (first, second, other) = (job(1, "sweep"), job(2, "sweep"), job(3, "swarm"));
    let rows = [first.clone(), second.clone(), other.clone()];
    store.write(move |tx| rows.iter().try_for_each(|row| tx.put_job(row))).await.expect("written");
    let id = first.id.clone();
    store
        .write(move |tx| {
            tx.put_job_parts(&id, &[part(0, json!([1])), part(7, json!([2]))])?;
            tx.put_job_parts(&id, &[part(7, json!([3]))])
        })
        .await
        .expect("written");
    let ended = JobRow {
        status: "completed".into(),
        name: Some("mine".into()),
        state: json!({"best": 7}),
        changed_at_ms: 9_000,
        ended_at_ms: Some(9_000),
        // What was asked for, and when, is never changed.
        request: json!({"symbols": ["MSFT"]}),
        created_at_ms: 1,
        ..second.clone()
    };
    store.write(move |tx| tx.put_job(&ended)).await.expect("written");
    drop(store);

    let store = place.open();
    let id = first.id.clone();
    let (found, parts, rest) = store
        .read(move |view| Ok((view.job(&id)?, view.job_parts(&id, 0)?, view.job_parts(&id, 1)?)))
        .await
        .expect("readable");
    assert_eq!(found, Some(first.clone()));
    assert_eq!(parts, [part(0, json!([1])), part(7, json!([3]))]);
    assert_eq!(rest, [part(7, json!([3]))]);
    let (all, unended) = store
        .read(|view| Ok((view.jobs("sweep", None, 10)?, view.unended_jobs("sweep", None)?)))
        .await
        .expect("readable");
    let ids = |rows: &[JobRow]| rows.iter().map(|row| row.id.clone()).collect::<Vec<_>>();
    assert_eq!(ids(&all), [second.id.clone(), first.id.clone()]);
    assert_eq!((all[0].request.clone(), all[0].created_at_ms), (second.request, second.created_at_ms));
    assert_eq!((all[0].name.as_deref(), all[0].ended_at_ms), (Some("mine"), Some(9_000)));
    assert_eq!(ids(&unended), std::slice::from_ref(&first.id));
}

#[tokio::test]
async fn parts_belong_to_a_job_and_go_with_it() {
    let place = Place::new();
    let store = place.open();
    let row = job(1, "task");
    let id = row.id.clone();
    let nobody = store.write({
        let id = id.clone();
        move |tx| tx.put_job_parts(&id, &[part(0, json!(null))])
    });
    assert!(nobody.await.is_err(), "a part of no job");
    let removed = store
        .write(move |tx| {
            tx.put_job(&row)?;
            tx.put_job_parts(&row.id, &[part(0, json!(null))])?;
            Ok((tx.delete_job(&row.id)?, tx.delete_job(&row.id)?))
        })
        .await
        .expect("written");
    assert_eq!(removed, (true, false));
    let left = store.read(move |view| Ok((view.job(&id)?, view.job_parts(&id, 0)?))).await.expect("readable");
    assert_eq!(left, (None, vec![]));
}

#[tokio::test]
async fn what_a_job_has_sealed_opens_for_it_alone_and_under_its_name() {
    let place = Place::new();
    let store = place.open();
    let (id, other) = (job(1, "pipeline").id, job(2, "pipeline").id);
    let of = id.clone();
    let sealed = store
        .read(move |view| Ok(view.seal_for_job(&of, "stage", &SecretValue::new("hunter2"))))
        .await
        .expect("sealed");
    assert!(!sealed.windows(7).any(|part| part == b"hunter2"));
    let open = |id: ringfence_model::JobId, name: &'static str, sealed: Vec<u8>| {
        let store = store.clone();
        async move { store.read(move |view| view.open_for_job(&id, name, &sealed)).await }
    };
    assert_eq!(open(id.clone(), "stage", sealed.clone()).await.expect("its own").expose(), b"hunter2");
    assert!(open(other, "stage", sealed.clone()).await.is_err());
    assert!(open(id.clone(), "another", sealed.clone()).await.is_err());
    let mut bent = sealed;
    bent[30] ^= 1;
    assert!(open(id, "stage", bent).await.is_err());
}

#[tokio::test]
async fn ids_come_newest_first_and_some_are_skipped() {
    let place = Place::new();
    let store = place.open();
    let rows: Vec<JobRow> = (1..=5).map(|number| job(number, "pipeline")).chain([job(6, "sweep")]).collect();
    let written = rows.clone();
    store.write(move |tx| written.iter().try_for_each(|row| tx.put_job(row))).await.expect("written");
    let ids = store.read(|view| view.job_ids("pipeline", None, 1, 2)).await.expect("readable");
    assert_eq!(ids, [rows[3].id.clone(), rows[2].id.clone()]);
    assert_eq!(store.read(|view| view.job_ids("pipeline", None, 5, 9)).await.expect("readable"), []);
}

#[tokio::test]
async fn jobs_of_a_project_are_found_without_those_of_others() {
    let place = Place::new();
    let store = place.open();
    let fund = Project::parse("fund").expect("a name");
    let rows = [job(1, "sweep"), JobRow { project: fund.clone(), ..job(2, "sweep") }, job(3, "sweep")];
    let ids: Vec<JobId> = rows.iter().map(|row| row.id.clone()).collect();
    store.write(move |tx| rows.iter().try_for_each(|row| tx.put_job(row))).await.expect("written");
    drop(store);
    let store = place.open();
    let found = store.read(move |view| {
        let of = |project: Option<&Project>| {
            let listed = view.jobs("sweep", project, 10)?.into_iter().map(|row| row.id).collect::<Vec<_>>();
            let active = view.unended_jobs("sweep", project)?.into_iter().rev().map(|row| row.id).collect::<Vec<_>>();
            assert_eq!(listed, active);
            assert_eq!(listed, view.job_ids("sweep", project, 0, 10)?);
            Ok(listed)
        };
        Ok((of(None)?, of(Some(&fund))?, of(Some(&Project::default()))?))
    });
    let (all, funds, first) = found.await.expect("readable");
    assert_eq!(all, [ids[2].clone(), ids[1].clone(), ids[0].clone()]);
    assert_eq!(funds, [ids[1].clone()]);
    assert_eq!(first, [ids[2].clone(), ids[0].clone()]);
}

#[tokio::test]
async fn only_what_has_ended_long_enough_ago_goes() {
    let place = Place::new();
    let store = place.open();
    let ended = |number: u8, kind: &str, ended_at_ms| JobRow { ended_at_ms, ..job(number, kind) };
    let rows = [
        ended(1, "sweep", Some(5_000)),
        ended(2, "sweep", Some(7_000)),
        ended(3, "sweep", None),
        ended(4, "task", Some(5_000)),
    ];
    let ids = rows.clone().map(|row| row.id);
    let parts =
        [part(0, json!({"curve": ["aa", 1]})), part(1, json!({"curve": null})), part(2, json!({"curve": ["bb", 0]}))];
    store
        .write(move |tx| {
            rows.iter().try_for_each(|row| tx.put_job(row))?;
            rows.iter().try_for_each(|row| tx.put_job_parts(&row.id, &parts))
        })
        .await
        .expect("written");
    let found = async |ended_ms: u64, limit: u32| {
        let rows = store.read(move |view| view.ended_jobs("sweep", None, ended_ms, limit)).await.expect("readable");
        rows.into_iter().map(|row| row.id).collect::<Vec<_>>()
    };
    assert_eq!(found(4_999, 10).await, []);
    assert_eq!(found(5_000, 10).await, ids[..1]);
    assert_eq!((found(u64::MAX, 10).await, found(u64::MAX, 1).await), (ids[..2].to_vec(), ids[..1].to_vec()));
    let texts = store.read(|view| view.job_part_texts("sweep", "$.curve[0]")).await.expect("readable");
    assert_eq!(texts.into_iter().collect::<Vec<_>>(), ["aa", "bb"]);
    let goes = async |id: &JobId| {
        let id = id.clone();
        store.write(move |tx| tx.delete_ended_job(&id)).await.expect("written")
    };
    assert_eq!([goes(&ids[0]).await, goes(&ids[0]).await, goes(&ids[2]).await], [true, false, false]);
    let (gone, running) = (ids[0].clone(), ids[2].clone());
    let left = store.read(move |view| Ok((view.job_parts(&gone, 0)?.len(), view.job_parts(&running, 0)?.len()))).await;
    assert_eq!(left.expect("readable"), (0, 3));
}
