//! Against plugins that are scripts: they refuse what the interface does not allow, and write down what they are asked.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, time::Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{list::List, namespace, plugin, pool::Pool, *};

/// Adds a container once, and deletes it any number of times.
const PLUGIN: &str = r#"#!/bin/sh
me=$(basename "$0") dir=$(dirname "$0")
config=$(cat)
say() { echo "{\"cniVersion\":\"1.0.0\",\"code\":$1,\"msg\":\"$2\",\"details\":\"$3\"}"; exit 1; }
[ "$CNI_IFNAME" = eth0 ] && [ "$CNI_PATH" = "$dir" ] && [ -n "$CNI_CONTAINERID" ] || say 4 "bad variables" "$CNI_IFNAME $CNI_PATH"
echo "$me $CNI_COMMAND ${CNI_NETNS:+in }$CNI_ARGS$config" >>"$dir/calls"
[ ! -e "$dir/$me.fails-$CNI_COMMAND" ] || say 11 "try later" "busy"
case $CNI_COMMAND in
ADD)
  [ "$(stat -Lc %t "$CNI_NETNS")" = 0 ] || say 4 "no namespace" "$CNI_NETNS"
  mkdir "$dir/held.$me.$CNI_CONTAINERID" || say 4 "twice" ""
  echo "{\"cniVersion\":\"1.0.0\",\"by\":\"$me\"}" ;;
DEL) rm -rf "$dir/held.$me.$CNI_CONTAINERID" ;;
*) say 4 "bad command" "" ;;
esac
"#;

/// A directory of plugins.
struct Plugins(TempDir);

impl Plugins {
    fn new() -> Plugins {
        let dir = tempfile::tempdir().unwrap();
        for name in ["one", "two"] {
            let file = dir.path().join(name);
            fs::write(&file, PLUGIN).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir(dir.path().join("records")).unwrap();
        Plugins(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn list(&self) -> List {
        let plugins = json!([{ "type": "one", "mtu": 9 }, { "type": "two" }]);
        self.parse(json!({ "cniVersion": "1.0.0", "name": "n", "plugins": plugins })).unwrap()
    }

    fn parse(&self, value: Value) -> anyhow::Result<List> {
        List::parse(value, &[self.0.path().to_owned()])
    }

    fn pool(&self, ready: usize) -> Arc<Pool> {
        Pool::new(self.list(), self.path("records"), ready, SPARE_FOR)
    }

    /// What was asked since the last time.
    fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(String::from).collect()
    }

    /// How many containers the plugins know, and how many records there are.
    fn held(&self) -> (usize, usize) {
        let count = |dir: PathBuf, begin: &str| {
            let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
            names.filter(|name| name.starts_with(begin)).count()
        };
        (count(self.path(""), "held."), count(self.path("records"), ""))
    }
}

fn is_root() -> bool {
    if !sys::user::is_root() {
        eprintln!("skipped: network namespaces need root");
    }
    sys::user::is_root()
}

fn process(hostname: &str) -> Process {
    Process { hostname: hostname.into(), ..Process::default() }
}

#[test]
fn configurations() {
    let plugins = Plugins::new();
    let list = |plugins: Value| json!({ "cniVersion": "0.4.0", "name": "n", "plugins": plugins });
    for (value, wanted) in [
        (json!([]), "want an object"),
        (json!({ "type": "one" }), "\"name\" is missing"),
        (json!({ "name": "n" }), "without a \"type\""),
        (json!({ "name": "n", "type": "one", "cniVersion": "1" }), "want a version such as 1.0.0"),
        (json!({ "name": "n", "type": "../one" }), "want a plugin's name"),
        (json!({ "name": "n", "type": "three" }), "the plugin \"three\" is not in /"),
        (list(json!({})), "want a list"),
        (list(json!([])), "is empty"),
        (list(json!(["one"])), "a list of objects"),
    ] {
        let error = plugins.parse(value.clone()).unwrap_err().to_string();
        assert!(error.contains(wanted), "{value}: {error}");
    }
    let single = plugins.parse(json!({ "name": "n", "type": "one", "mtu": 3 })).unwrap();
    assert_eq!((single.version.as_str(), single.plugins[0].config["mtu"].as_u64()), ("0.1.0", Some(3)));
    assert_eq!((single.passes_results(false), single.passes_results(true)), (false, false));
    let older = plugins.parse(list(json!([{ "type": "one" }]))).unwrap();
    assert!(older.passes_results(false) && older.passes_results(true));

    let missing = List::read(&plugins.path("none.json"), &plugins.path("")).unwrap_err();
    assert!(format!("{missing:#}").contains("none.json: No such file"), "{missing:#}");
    let open = |mode| Cni::open(&Networks { mode, plugins: plugins.path(""), ready: 0 }, &plugins.path(""));
    assert!(open(NetworkMode::Host).unwrap().is_none());
    let bridge = NetworkMode::Bridge { name: "b".into(), subnet: "10.0.0.0/8".into() };
    let error = open(bridge).err().unwrap();
    assert!(format!("{error:#}").contains("the network \"bridge\": the plugin \"bridge\" is not in"), "{error:#}");
}

#[test]
fn plugins_are_called_in_order_and_back() {
    if !is_root() {
        return;
    }
    let plugins = Plugins::new();
    let pool = plugins.pool(0);
    let lent = pool.take(&process("web")).unwrap();
    assert!(lent.path().exists());
    assert_eq!(plugins.held(), (2, 1));
    drop(lent);
    let common = r#""cniVersion":"1.0.0","name":"n""#;
    let args = "IgnoreUnknown=1;K8S_POD_NAME=web";
    let result = |by: &str| format!(r#","prevResult":{{"by":"{by}","cniVersion":"1.0.0"}}"#);
    let sorted = |line: &str| {
        let (before, config) = line.split_once('{').unwrap();
        (before.to_owned(), serde_json::from_str::<Value>(&format!("{{{config}")).unwrap())
    };
    let wanted = [
        format!(r#"one ADD in {args}{{{common},"type":"one","mtu":9}}"#),
        format!(r#"two ADD in {args}{{{common},"type":"two"{}}}"#, result("one")),
        format!(r#"two DEL in {args}{{{common},"type":"two"{}}}"#, result("two")),
        format!(r#"one DEL in {args}{{{common},"type":"one","mtu":9{}}}"#, result("two")),
    ];
    let calls = plugins.calls();
    assert_eq!(calls.iter().map(|line| sorted(line)).collect::<Vec<_>>(), wanted.map(|line| sorted(&line)));
    assert_eq!(plugins.held(), (0, 0), "a host name is told of once");
}

#[test]
fn what_fails_is_undone_and_told() {
    if !is_root() {
        return;
    }
    let plugins = Plugins::new();
    let pool = plugins.pool(0);
    fs::write(plugins.path("two.fails-ADD"), "").unwrap();
    let error = pool.take(&process("")).err().unwrap();
    assert_eq!(format!("{error:#}"), "CNI plugin \"two\": try later (busy), code 11");
    assert_eq!(plugins.held(), (0, 0));

    // What cannot be given back now is given back by the next engine.
    fs::remove_file(plugins.path("two.fails-ADD")).unwrap();
    fs::write(plugins.path("two.fails-DEL"), "").unwrap();
    drop(pool.take(&process("web")).unwrap());
    assert_eq!(plugins.held(), (1, 1));
    fs::remove_file(plugins.path("two.fails-DEL")).unwrap();
    fs::write(plugins.path("records/cut.json"), "{\"host").unwrap();
    plugins.calls();
    namespace::sweep(&plugins.list(), &plugins.path("records"));
    assert_eq!(plugins.held(), (0, 0));
    let calls = plugins.calls();
    assert_eq!(calls.len(), 4);
    assert!(calls.iter().all(|call| call.contains(" DEL ") && !call.contains(" in ")), "{calls:?}");
}

#[test]
fn a_plugin_that_does_not_end_is_killed() {
    let plugins = Plugins::new();
    fs::write(plugins.path("one"), "#!/bin/sh\nexec sleep 1000\n").unwrap();
    let list = plugins.list();
    let container = plugin::Container { id: "c", namespace: "", hostname: "" };
    let time = Duration::from_millis(1);
    let error = plugin::call(&list, &list.plugins[0], plugin::Verb::Add, &container, None, time).unwrap_err();
    assert_eq!(format!("{error:#}"), "CNI plugin \"one\": it did not end in 1ms");

    fs::write(plugins.path("one"), "#!/bin/sh\necho words\necho oops >&2\nexit 3\n").unwrap();
    let error = plugin::add(&list, &container).unwrap_err();
    assert_eq!(format!("{error:#}"), "CNI plugin \"one\" ended with exit status: 3: words oops");
    fs::write(plugins.path("one"), "#!/bin/sh\necho words\n").unwrap();
    let error = format!("{:#}", plugin::add(&list, &container).unwrap_err());
    assert!(error.starts_with("CNI plugin \"one\": its answer: expected value"), "{error}");
}

#[test]
fn namespaces_are_used_again() {
    if !is_root() {
        return;
    }
    let plugins = Plugins::new();
    let pool = plugins.pool(1);
    let take = |process: Process| pool.take(&process).unwrap();
    let (one, other) = (take(process("")), take(process("")));
    let (first, second) = (one.path(), other.path());
    assert_ne!(first, second);
    drop((one, other));
    assert_eq!((pool.spare(), plugins.held()), (2, (4, 2)));
    let again = take(process(""));
    assert_eq!(again.path(), second, "the one that was used last");
    drop(again);

    // Who may do all with it has it alone.
    drop(take(Process { insecure: true, ..Process::default() }));
    assert_eq!((pool.spare(), plugins.held()), (1, (2, 1)));

    drop((take(process("")), take(process(""))));
    let later = Instant::now() + SPARE_FOR;
    pool.tend(Instant::now()).unwrap();
    assert_eq!(pool.spare(), 2);
    pool.tend(later).unwrap();
    assert_eq!(pool.spare(), 1, "so many are wanted");
    let used = (take(process("")), take(process("")));
    pool.tend(later).unwrap();
    assert_eq!(pool.spare(), 1, "and made ahead");
    pool.close();
    assert_eq!((pool.spare(), plugins.held()), (0, (4, 2)));
    drop(used);
    assert_eq!(plugins.held(), (0, 0));
}
