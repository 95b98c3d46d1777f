//! LIST: one that hangs, one that is refused, one that is older than what is known.

use std::time::Duration;

use anyhow::{Result, ensure};
use e2e::{Film, eventually};
use kube::api::{DeleteParams, DynamicObject};
use kube::core::ResourceExt as _;
use nova_testkit::fault_proxy::{Fault, Refusal, Rule, Verb};

use crate::stage::{
    CONVERGES, HEALS, SERVED, Stage, TOLD, alone, app, applications, apps, edit, falls_silent, has_tag,
    limit_ranges, sandbox, shop, takes_effect,
};

#[tokio::test]
async fn a_hung_list_of_limit_ranges_holds_up_nothing_that_does_not_need_them() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "hunglimits";
        let operator = without_a_list(&stage, NAME, "limitranges", "limitrange", Fault::Hang).await?;
        // Drift of the kind is seen again.
        let api = limit_ranges(stage.world, NAME);
        let uid = api.get("kubenova-limits").await?.uid();
        api.delete("kubenova-limits", &DeleteParams::default()).await?;
        eventually("a deleted LimitRange is back", HEALS, async || {
            let live = api.get_opt("kubenova-limits").await.map_err(|e| e.to_string())?;
            if live.is_some_and(|l| l.uid() != uid) { Ok(()) } else { Err("it is not".to_owned()) }
        })
        .await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_hung_list_of_sandboxes_holds_up_no_app() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "hungboxes";
        let kind = "novasandboxes.kubenova.io";
        let operator = without_a_list(&stage, NAME, kind, "novasandbox", Fault::Hang).await?;
        stage.world.apply_until_accepted(&[sandbox(NAME, "dev")], CONVERGES).await?;
        stage.world.ready(NAME, CONVERGES).await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_list_whose_body_stops_half_way_holds_up_nothing_that_does_not_need_it() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "halflist";
        let operator = without_a_list(&stage, NAME, "limitranges", "limitrange", Fault::Stall).await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_kind_that_may_not_be_listed_holds_up_no_other() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "nojobs";
        let refused = Fault::Answer(Refusal::FORBIDDEN);
        let operator = without_a_list(&stage, NAME, "jobs.batch", "job", refused).await?;
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

/// Starts the operator while a kind cannot be listed: an app of a tenant that is there is served, `NovaCluster local`
/// says what is wrong, and all is well when the fault is over.
async fn without_a_list(
    stage: &Stage<'_>,
    tenant: &str,
    kind: &str,
    told: &str,
    fault: Fault,
) -> Result<e2e::OperatorProcess> {
    let world = stage.world;
    stage.tenant_of_old(tenant).await?;
    stage.cluster_speaks_of(told, false, SERVED).await?;
    let lists = stage.proxy.inject(Rule::on([Verb::List], kind), fault);
    println!("the operator starts and cannot list {kind}:");
    let operator = stage.spawn_operator()?;
    takes_effect(world, tenant, "web", "meanwhile", SERVED).await?;
    stage.cluster_speaks_of(told, true, TOLD).await?;
    takes_effect(world, tenant, "web", "later", SERVED).await?;
    ensure!(lists.seen() > 0, "nobody has listed {kind}");
    println!("  {kind}: {} lists asked for; they are answered from now on", lists.seen());
    lists.lift();
    operator.ready(HEALS).await?;
    stage.cluster_speaks_of(told, false, HEALS).await?;
    takes_effect(world, tenant, "web", "at-last", SERVED).await?;
    world.ready(tenant, CONVERGES).await?;
    Ok(operator)
}

/// For so long an older list is all that is known.
const OLD: Duration = Duration::from_secs(8);

#[tokio::test]
async fn an_older_list_brings_nothing_back() -> Result<()> {
    alone(async |stage| {
        const NAME: &str = "aged";
        let (world, proxy) = (stage.world, &stage.proxy);
        let operator = world.operator().await?;
        stage.tenant(NAME).await?;
        world.apply_until_accepted(&[app(NAME, "doomed")], CONVERGES).await?;
        world.ready(NAME, CONVERGES).await?;
        operator.stop().await;

        // What this start lists is the older list: `web` in its first generation, and `doomed`.
        let operator = stage.operator().await?;
        let film = Film::start(&world.admin, &e2e::object::all(&["Application"])).await?;
        for tag in ["second", "third"] {
            takes_effect(world, NAME, "web", tag, SERVED).await?;
        }
        apps(world, NAME).delete("doomed", &DeleteParams::default()).await?;
        for (what, api) in [("app", apps(world, NAME)), ("Application", applications(world, NAME))] {
            eventually(&format!("the {what} doomed is gone"), CONVERGES, async || {
                let live: Option<DynamicObject> = api.get_opt("doomed").await.map_err(|e| e.to_string())?;
                live.map_or(Ok(()), |object| Err(object.data.to_string()))
            })
            .await?;
        }
        world.ready(NAME, CONVERGES).await?;
        falls_silent(&stage).await?;

        let apps_only = |verb| Rule::on([verb], "novaapps.kubenova.io");
        let ended = proxy.inject(apps_only(Verb::Watch).nth(1), Fault::ErrorEvent(Refusal::GONE));
        proxy.inject(apps_only(Verb::Watch).nth(2), Fault::Delay(OLD));
        let replayed = proxy.inject(apps_only(Verb::List).nth(1), Fault::OldList(0));
        let on_doomed = proxy.count(Rule::on(Verb::WRITES, "*").in_namespace(&shop(NAME)).named("doomed*"));
        let before = proxy.writes().len();
        ensure!(proxy.cut_watches("novaapps.kubenova.io") > 0, "no watch of apps was running");
        eventually("the apps are listed anew", HEALS, async || {
            let (ended, lists) = (ended.hits(), replayed.hits());
            if lists > 0 { Ok(()) } else { Err(format!("{ended} watches ended by 410, {lists} lists")) }
        })
        .await?;
        tokio::time::sleep(OLD + Duration::from_secs(4)).await;
        let of_its_own = |path: &&str| path.contains(&format!("tn-{NAME}"));
        let writes = proxy.writes();
        let written: Vec<&str> =
            writes[before..].iter().map(|w| w.path.as_str()).filter(of_its_own).collect();
        println!(
            "an older list was replayed: {} writes, {} on what is deleted",
            written.len(),
            on_doomed.seen()
        );

        takes_effect(world, NAME, "web", "fourth", HEALS).await?;
        let lies = film.lies();
        let frames = film.of("Application", &shop(NAME), "web");
        let tags: Vec<&str> = frames
            .iter()
            .filter_map(|f| {
                let spec = f.object.data["spec"].to_string();
                ["1", "second", "third", "fourth"]
                    .into_iter()
                    .find(|t| spec.contains(&format!("nginx:{t}\"")))
            })
            .collect();
        println!("  the Application had the tags {:?}", dedup(&tags));
        ensure!(on_doomed.seen() == 0, "what is deleted was written to: {written:#?}");
        ensure!(
            dedup(&tags) == ["1", "second", "third", "fourth"],
            "an older generation was applied again: {tags:?}"
        );
        ensure!(written.is_empty(), "the older list led to writes: {written:#?}");
        ensure!(lies.is_empty(), "{lies:#?}");
        ensure!(operator.is_running(), "the operator has ended");
        Ok(())
    })
    .await
}

fn dedup<'a>(tags: &[&'a str]) -> Vec<&'a str> {
    let mut tags = tags.to_vec();
    tags.dedup();
    tags
}

#[tokio::test]
async fn an_error_410_in_a_watch_is_followed_by_a_list() -> Result<()> {
    alone(async |stage| expired(&stage, "gonebody", Fault::ErrorEvent(Refusal::GONE)).await).await
}

#[tokio::test]
async fn an_answer_410_to_a_watch_is_followed_by_a_list() -> Result<()> {
    alone(async |stage| expired(&stage, "gonehead", Fault::Answer(Refusal::GONE)).await).await
}

/// The version from which apps are watched is too old, until they are listed.
async fn expired(stage: &Stage<'_>, tenant: &str, fault: Fault) -> Result<()> {
    let proxy = &stage.proxy;
    let operator = stage.operator().await?;
    stage.tenant(tenant).await?;
    let rule = |verb| Rule::on([verb], "novaapps.kubenova.io");
    let lists = proxy.count(rule(Verb::List));
    let gone = proxy.inject(rule(Verb::Watch), fault);
    ensure!(proxy.cut_watches("novaapps.kubenova.io") > 0, "no watch of apps was running");
    edit(stage.world, tenant, "web", "expired").await?;
    let listed = eventually("the apps are listed anew", HEALS, async || {
        if lists.seen() > 0 { Ok(()) } else { Err(format!("{} watches answered 410", gone.hits())) }
    })
    .await;
    gone.lift();
    listed?;
    println!("410 on {} watches, then {} lists", gone.hits(), lists.seen());
    has_tag(stage.world, tenant, "web", "expired", HEALS).await?;
    ensure!(operator.is_running(), "the operator has ended");
    Ok(())
}
