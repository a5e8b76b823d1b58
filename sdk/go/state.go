package pintle

import "sort"

// State is a tree of files that is not built yet: an output of a vertex, or nothing at all. Its methods, and those of [Host] that
// answer one, end the build with the host's error where the host refuses a call, so that there is nothing to check.
type State struct {
	calls Calls
	edge  *Edge
}

// Edge answers the edge in the host's graph; nil is an empty tree.
func (s State) Edge() *Edge { return s.edge }

// Same says whether two states are the same tree.
func (s State) Same(other State) bool {
	if s.edge == nil || other.edge == nil {
		return s.edge == other.edge
	}
	return *s.edge == *other.edge
}

// added is the tree of a new vertex.
func added(calls Calls, edge Edge, err error, options Option) State {
	if err != nil {
		panic(refused(asError(err), options.at))
	}
	if len(options.at) > 0 {
		must(calls.Locate(edge.Vertex, options.at))
	}
	return State{calls, &edge}
}

// refused is an error with the places of what was refused. Without a place it is the author's to understand.
func refused(err *Error, at []Location) *Error {
	if len(err.Places) > 0 {
		return err
	}
	located := *err
	located.Places = at
	if caller := stack(); len(at) == 0 && len(caller) > 0 {
		located.Detail = append(located.Detail[:len(located.Detail):len(located.Detail)], Attr{"called at", caller[0]})
	}
	return &located
}

func must(err error) {
	if err != nil {
		panic(asError(err))
	}
}

// Run runs a command with this as its root filesystem.
//
// Options: [Env], [Mounts], [Cwd], [User], [Network], [Security], [Hostname], [ReadonlyRoot], [NoRootOutput], [ValidExitCode], [ExtraHost], [Ulimit],
// [CgroupParent], [Device], [OptionalDevice], [ProxyHTTP], [ProxyHTTPS], [ProxyFTP], [ProxyNo], [ProxyAll], [KeepMountStubs], and those of
// every vertex, such as [Name] and [At].
func (s State) Run(args []string, options ...Option) *Ran {
	all := gathered(options)
	mounts := ordered(all.mounts)
	wit := make([]WitMount, len(mounts))
	for i, mount := range mounts {
		wit[i] = mount.wit
	}
	edge, err := s.calls.AddExec(s.edge, args, all.env, wit, all.attrs)
	state := added(s.calls, edge, err, all)
	return &Ran{state.edge.Vertex, s, mounts, all.value("readonly-root") == "true"}
}

// File changes files, in order, as one vertex.
func (s State) File(actions []FileAction, options ...Option) State {
	all := gathered(options)
	wit := make([]WitAction, len(actions))
	for i, action := range actions {
		wit[i] = action.wit
	}
	edge, err := s.calls.AddFile(s.edge, wit, all.attrs)
	return added(s.calls, edge, err, all)
}

// Ran is a command that is in the graph.
type Ran struct {
	vertex       uint32
	before       State
	mounts       []Mount
	readonlyRoot bool
}

// Root answers the root filesystem as the command left it.
func (r *Ran) Root() State {
	if r.readonlyRoot {
		return r.before
	}
	return State{r.before.calls, &Edge{r.vertex, 0}}
}

// Mount answers the tree mounted at `target` as the command left it, and false where there is none, or none whose contents are kept.
func (r *Ran) Mount(target string) (State, bool) {
	output := uint32(0)
	for _, mount := range r.mounts {
		if mount.wit.Kind == "secret" && mount.wit.Target == "" {
			continue
		}
		output++
		if mount.wit.Target != target || mount.wit.Kind != "bind" {
			continue
		}
		if mount.unchanged != nil {
			return *mount.unchanged, true
		}
		for _, attr := range mount.wit.Attrs {
			if attr == (Attr{"output", "false"}) {
				return State{}, false
			}
		}
		return State{r.before.calls, &Edge{r.vertex, output}}, true
	}
	return State{}, false
}

// Mount is a mount of any kind.
type Mount struct {
	wit WitMount
	// unchanged is the tree behind it, when the command cannot write: it is then what the mount holds afterwards.
	unchanged *State
}

// Bind is `source` at `target`.
//
// Options: [Selector], [Readonly], [NoOutput], [ContentCache].
func Bind(target string, source State, options ...Option) Mount {
	all := gathered(options)
	mount := Mount{wit: WitMount{"bind", target, source.edge, all.attrs}}
	if all.value("readonly") == "true" {
		mount.unchanged = &source
	}
	return mount
}

// Cache is the cache `id` at `target`: kept between builds, never part of a result.
//
// Options: [From], [Sharing], [Selector], [Readonly].
func Cache(target, id string, options ...Option) Mount {
	all := gathered(options)
	var from *Edge
	if all.from != nil {
		from = all.from.edge
	}
	return Mount{wit: WitMount{"cache", target, from, append([]Attr{{"id", id}}, all.attrs...)}}
}

// Tmpfs is a directory in memory.
//
// Options: [Size].
func Tmpfs(target string, options ...Option) Mount {
	return Mount{wit: WitMount{"tmpfs", target, nil, gathered(options).attrs}}
}

// Secret is a secret as a file at `target`, or, with [AsEnv], as an environment variable. Its name is the target unless [ID] says it.
//
// Options: [ID], [AsEnv], [Optional], [UID], [GID], [Mode].
func Secret(target string, options ...Option) Mount {
	all := gathered(options)
	attrs := all.attrs
	if all.value("id") == "" {
		attrs = append([]Attr{{"id", target}}, attrs...)
	}
	if all.value("env") != "" {
		target = ""
	}
	return Mount{wit: WitMount{"secret", target, nil, attrs}}
}

// SSH is an agent's socket at `target`.
//
// Options: [ID], [Optional], [UID], [GID], [Mode].
func SSH(target string, options ...Option) Mount {
	return Mount{wit: WitMount{"ssh", target, nil, gathered(options).attrs}}
}

// ordered is as BuildKit's client orders mounts: trees, caches and tmpfs by target, then secrets, then agents.
func ordered(mounts []Mount) []Mount {
	ranks := map[string]int{"secret": 1, "ssh": 2}
	sorted := append([]Mount(nil), mounts...)
	sort.SliceStable(sorted, func(i, j int) bool {
		a, b := sorted[i].wit, sorted[j].wit
		if ranks[a.Kind] != ranks[b.Kind] {
			return ranks[a.Kind] < ranks[b.Kind]
		}
		return ranks[a.Kind] == 0 && a.Target < b.Target
	})
	return sorted
}

// FileAction is one change of files.
type FileAction struct{ wit WitAction }

// Copy copies `src` of `from` to `dest`. A `dest` that ends in `/` is a directory to copy into.
//
// Options: [Mode], [Chmod], [Owner], [FollowLinks], [ContentsOnly], [CreateParents], [Wildcard], [EmptyWildcard], [Unpack],
// [Include], [Exclude], [Required], [Replace], [Created].
func Copy(from State, src, dest string, options ...Option) FileAction {
	attrs := append([]Attr{{"src", src}}, gathered(options).attrs...)
	return FileAction{WitAction{Kind: "copy", Path: dest, Input: from.edge, Attrs: attrs}}
}

// Mkfile makes a file.
//
// Options: [Mode], [Owner], [Created].
func Mkfile(path, content string, options ...Option) FileAction {
	return FileAction{WitAction{Kind: "mkfile", Path: path, Content: []byte(content), Attrs: gathered(options).attrs}}
}

// Mkdir makes a directory.
//
// Options: [Mode], [Parents], [Owner], [Created].
func Mkdir(path string, options ...Option) FileAction {
	return FileAction{WitAction{Kind: "mkdir", Path: path, Attrs: gathered(options).attrs}}
}

// Rm removes a file or a directory.
//
// Options: [AllowNotFound], [Wildcard].
func Rm(path string, options ...Option) FileAction {
	return FileAction{WitAction{Kind: "rm", Path: path, Attrs: gathered(options).attrs}}
}

// Symlink makes a symbolic link at `path`.
//
// Options: [Owner], [Created].
func Symlink(path, to string, options ...Option) FileAction {
	attrs := append([]Attr{{"to", to}}, gathered(options).attrs...)
	return FileAction{WitAction{Kind: "symlink", Path: path, Attrs: attrs}}
}
