use serde_json::{Map, Value, json};

use crate::lower::Lowering;

/// Where programs are.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How the image runs. Annotations are labels too: those of a manifest are the exporter's.
pub(crate) fn config(to: &Lowering<'_>) -> Value {
    let (spec, vars) = (to.spec, &to.vars);
    let mut env = vec![("PATH".to_owned(), PATH.to_owned())];
    for (name, value) in vars.pairs(&spec.environment) {
        match env.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => env.push((name, value)),
        }
    }
    let mut run = Map::new();
    run.insert("Env".into(), env.iter().map(|(name, value)| format!("{name}={value}")).collect());
    for (key, words) in [("Entrypoint", &spec.entrypoint), ("Cmd", &spec.cmd)] {
        if !words.is_empty() {
            run.insert(key.into(), json!(vars.all(words)));
        }
    }
    let user = spec.accounts.run_as.as_ref().map(|name| &name.value);
    for (key, text) in
        [("User", user), ("WorkingDir", spec.work_dir.as_ref()), ("StopSignal", spec.stop_signal.as_ref())]
    {
        if let Some(text) = text {
            run.insert(key.into(), json!(vars.expand(text)));
        }
    }
    let labels: Map<String, Value> = [&spec.annotations, &spec.labels]
        .into_iter()
        .flat_map(|pairs| vars.pairs(pairs))
        .map(|(name, value)| (name, json!(value)))
        .collect();
    let ports: Map<String, Value> = vars.all(&spec.ports).into_iter().map(|port| (port, json!({}))).collect();
    for (key, entries) in [("Labels", labels), ("ExposedPorts", ports)] {
        if !entries.is_empty() {
            run.insert(key.into(), Value::Object(entries));
        }
    }
    let mut parts = to.platform.split('/');
    let mut config = json!({ "os": parts.next(), "architecture": parts.next(), "config": run });
    if let Some(variant) = parts.next() {
        config["variant"] = json!(variant);
    }
    config
}
