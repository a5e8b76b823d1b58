use serde_json::{Map, Value, json};

use crate::imagefile::Image;

/// An OCI image config, as the base has it.
#[derive(Default)]
pub(crate) struct Config(Map<String, Value>);

impl Config {
    /// From JSON; anything but an object is an empty config.
    pub(crate) fn new(config: Value) -> Self {
        match config {
            Value::Object(config) => Config(config),
            _ => Config::default(),
        }
    }

    fn run(&self) -> Map<String, Value> {
        self.0.get("config").and_then(Value::as_object).cloned().unwrap_or_default()
    }

    /// The base's config with what the build file says in its place; layers and history are the exporter's.
    pub(crate) fn with(&self, image: &Image, platform: &str) -> Value {
        let mut run = self.run();
        let env = environment(self, image).into_iter().map(|(name, value)| format!("{name}={value}"));
        run.insert("Env".to_owned(), env.collect());
        for (key, words) in [("Entrypoint", &image.entrypoint), ("Cmd", &image.cmd)] {
            if !words.is_empty() {
                run.insert(key.to_owned(), json!(words));
            }
        }
        for (key, text) in [("WorkingDir", &image.workdir), ("User", &image.user)] {
            if let Some(text) = text {
                run.insert(key.to_owned(), json!(text));
            }
        }
        extend(&mut run, "Labels", image.labels.iter().map(|(key, value)| (key.clone(), json!(value))));
        extend(&mut run, "ExposedPorts", image.expose.iter().map(|port| (port.clone(), json!({}))));
        let mut parts = platform.split('/');
        let mut config = self.0.clone();
        config.insert("os".to_owned(), json!(parts.next().unwrap_or_default()));
        config.insert("architecture".to_owned(), json!(parts.next().unwrap_or_default()));
        config.insert("config".to_owned(), Value::Object(run));
        Value::Object(config)
    }
}

fn extend(run: &mut Map<String, Value>, key: &str, entries: impl Iterator<Item = (String, Value)>) {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return;
    }
    let mut all = run.get(key).and_then(Value::as_object).cloned().unwrap_or_default();
    all.extend(entries);
    run.insert(key.to_owned(), Value::Object(all));
}

/// The base's environment with the build file's in its place.
pub(crate) fn environment(base: &Config, image: &Image) -> Vec<(String, String)> {
    const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let run = base.run();
    let inherited = run.get("Env").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let pairs = inherited.filter_map(|entry| entry.split_once('='));
    let mut env: Vec<(String, String)> = vec![("PATH".to_owned(), PATH.to_owned())];
    let own = image.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    for (name, value) in pairs.chain(own) {
        match env.iter_mut().find(|(known, _)| known == name) {
            Some(known) => known.1 = value.to_owned(),
            None => env.push((name.to_owned(), value.to_owned())),
        }
    }
    env
}
