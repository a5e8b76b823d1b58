package pintle

import "strings"

// Host is what a frontend may ask of the engine.
type Host struct{ calls Calls }

// State is the tree of an edge; nil is an empty one.
func (h *Host) State(edge *Edge) State { return State{h.calls, edge} }

// Supports says whether this host knows a word of attributes.md, or a kind: `source.git`, `exec.hostname`.
func (h *Host) Supports(feature string) bool { return h.calls.Supports(feature) }

// Scratch is an empty tree.
func (h *Host) Scratch() State { return State{h.calls, nil} }

// Image is the files of an image.
//
// Options: [ResolveMode], [Checksum], [LayerLimit], [RecordType], and those of every vertex, such as [Name] and [At].
func (h *Host) Image(reference string, options ...Option) State {
	return h.Source("docker-image://"+reference, options...)
}

// ImageBlob is a blob of an image's repository as a file: `registry.example/name@sha256:...`.
//
// Options: [Filename], [Mode], [UID], [GID], and those of every vertex, such as [Name] and [At].
func (h *Host) ImageBlob(reference string, options ...Option) State {
	return h.Source("docker-image+blob://"+reference, options...)
}

// OCILayout is the files of an image in a layout of the user's.
//
// Options: [Session], [Store], [LayerLimit], and those of every vertex, such as [Name] and [At].
func (h *Host) OCILayout(reference string, options ...Option) State {
	return h.Source("oci-layout://"+reference, options...)
}

// OCILayoutBlob is a blob of a layout of the user's, as a file.
//
// Options: [Session], [Store], [Filename], [Mode], [UID], [GID], and those of every vertex, such as [Name] and [At].
func (h *Host) OCILayoutBlob(reference string, options ...Option) State {
	return h.Source("oci-layout+blob://"+reference, options...)
}

// Local is a directory of the user's by its name: `context`, `dockerfile`.
//
// Options: [Include], [Exclude], [Follow], [SharedKey], [Differ], [Session], [Unique], [MetadataOnly], [MetadataOnlyExcept], and those of
// every vertex, such as [Name] and [At].
func (h *Host) Local(name string, options ...Option) State {
	return h.Source("local://"+name, options...)
}

// Git is a git repository: `https://host/repository.git#ref:subdir`.
//
// Options: [KeepGitDir], [FullURL], [Checksum], [SkipSubmodules], [Mtime], [FetchByCommit], [Bundle], [CheckoutBundle], [AuthTokenSecret],
// [AuthHeaderSecret], [KnownSSHHosts], [MountSSHSock], [SignatureKey], [SignatureRejectExpired], [SignatureRequireTag],
// [SignatureIgnoreTag], and those of every vertex, such as [Name] and [At].
func (h *Host) Git(remote string, options ...Option) State {
	bare := remote
	if _, rest, ok := strings.Cut(remote, "://"); ok {
		bare = rest
	}
	url, _, _ := strings.Cut(remote, "#")
	return h.Source("git://"+bare, append([]Option{Attribute("full-url", url)}, options...)...)
}

// HTTP is a file of a web server.
//
// Options: [Checksum], [Filename], [Mode], [UID], [GID], [AuthHeaderSecret], [SignatureKey], [Signature], and those of every vertex, such
// as [Name] and [At].
func (h *Host) HTTP(url string, options ...Option) State { return h.Source(url, options...) }

// Source is a source by its URL.
func (h *Host) Source(identifier string, options ...Option) State {
	all := gathered(options)
	edge, err := h.calls.AddSource(identifier, all.attrs)
	return added(h.calls, edge, err, all)
}

// Definition takes in a ready-made graph, BuildKit's `pb.Definition`.
func (h *Host) Definition(definition []byte) State {
	edge, err := h.calls.AddDefinition(definition)
	must(err)
	return State{h.calls, edge}
}

// Merge lays trees over each other, the last on top.
func (h *Host) Merge(inputs []State, options ...Option) State {
	var edges []Edge
	for _, input := range inputs {
		if input.edge != nil {
			edges = append(edges, *input.edge)
		}
	}
	switch len(edges) {
	case 0:
		return h.Scratch()
	case 1:
		return State{h.calls, &edges[0]}
	}
	all := gathered(options)
	edge, err := h.calls.AddMerge(edges, all.attrs)
	return added(h.calls, edge, err, all)
}

// Diff is what `upper` has and `lower` has not.
func (h *Host) Diff(lower, upper State, options ...Option) State {
	all := gathered(options)
	edge, err := h.calls.AddDiff(lower.edge, upper.edge, all.attrs)
	return added(h.calls, edge, err, all)
}

// Op is an operation of any kind: `passthrough` hands its first input on once all are built. `params` are words of the kind,
// and [Content] gives the definition of a `build`.
func (h *Host) Op(kind string, inputs []State, params []Attr, options ...Option) State {
	edges := make([]*Edge, len(inputs))
	for i, input := range inputs {
		edges[i] = input.edge
	}
	all := gathered(options)
	edge, err := h.calls.AddOp(kind, edges, params, all.content, all.attrs)
	return added(h.calls, edge, err, all)
}

// SourceFile tells the host about a source text, so that errors can show its lines. `definition` is what it was read from.
func (h *Host) SourceFile(name, language, text string, definition State) *SourceFile {
	file, err := h.calls.AddSourceFile(name, language, text, definition.edge)
	must(err)
	return &SourceFile{file, text}
}

// Solve is the result of a tree, built when it is first read.
func (h *Host) Solve(state State) *Ref {
	ref, err := h.calls.Solve(state.edge)
	must(err)
	return &Ref{ref, h.calls}
}

// Solved is what another frontend made.
type Solved struct {
	// Refs by platform, "" when there is one only.
	Refs     map[string]*Ref
	Metadata map[string][]byte
}

// SolveFrontend builds another frontend inside this one; `source` names it as a `# syntax=` line does.
func (h *Host) SolveFrontend(source string, opts map[string]string, inputs map[string]State) (*Solved, error) {
	var attrs []Attr
	for _, name := range sorted(opts) {
		attrs = append(attrs, Attr{name, opts[name]})
	}
	edges := map[string]*Edge{}
	for name, state := range inputs {
		edges[name] = state.edge
	}
	refs, metadata, err := h.calls.SolveFrontend(source, attrs, edges)
	if err != nil {
		return nil, err
	}
	solved := &Solved{map[string]*Ref{}, metadata}
	for platform, ref := range refs {
		solved.Refs[platform] = &Ref{ref, h.calls}
	}
	return solved, nil
}

// ResolvedImage is an image that was resolved.
type ResolvedImage struct {
	// Reference is for [Host.Image]: with its digest where that is known.
	Reference string
	Digest    string
	// Config is the image config, JSON.
	Config string
}

// SourceQuery is a source to pin down.
type SourceQuery struct {
	// Identifier is as [Host.Source] takes it.
	Identifier string
	// Platform is os/arch[/variant] that is wanted, or empty.
	Platform string
	// Options are [ResolveMode], [NoConfig], [LogName], [Objects], and those of the source.
	Options []Option
}

// Resolve pins sources down, all at once. Answers stand in the order of the questions; what could not be pinned has an error.
func (h *Host) Resolve(queries []SourceQuery) []Answered {
	all := make([]WitQuery, len(queries))
	for i, query := range queries {
		all[i] = WitQuery{query.Identifier, query.Platform, gathered(query.Options).attrs}
	}
	return h.calls.ResolveSources(all)
}

// ResolveImages looks images up, all at once; `platform` may be empty.
func (h *Host) ResolveImages(platform string, references []string, options ...Option) ([]ResolvedImage, error) {
	queries := make([]SourceQuery, len(references))
	for i, reference := range references {
		queries[i] = SourceQuery{"docker-image://" + reference, platform, options}
	}
	images := make([]ResolvedImage, len(references))
	for i, answer := range h.Resolve(queries) {
		if answer.Err != nil {
			return nil, answer.Err
		}
		reference := strings.TrimPrefix(answer.Meta.Identifier, "docker-image://")
		images[i] = ResolvedImage{reference, answer.Meta.Digest, answer.Meta.Config}
	}
	return images, nil
}

// Log is a line for the build's log: `level` is debug, info, warn or error. What is printed is logged too.
func (h *Host) Log(level, message string) { h.calls.Log(level, message) }

// Warn is a warning for the user: [At] says about which places, [About] about which tree, [Detail], [URL] and [Level] what more there is.
func (h *Host) Warn(message string, options ...Option) {
	all := gathered(options)
	must(h.calls.Warn(all.about, message, all.at, all.attrs))
}

// SourceFile is a source text that the host knows.
type SourceFile struct {
	file uint32
	text string
}

// At is the place of the bytes from `start` up to and without `end`.
func (f *SourceFile) At(start, end int) Location {
	firstLine, firstColumn := f.position(start)
	lastLine, lastColumn := f.position(max(start, end-1))
	return Location{f.file, firstLine, firstColumn, lastLine, lastColumn}
}

// Location is the place of what lies from `start` to `end`, both included: line and column, lines from 1, columns from 0 in bytes.
func (f *SourceFile) Location(start, end [2]uint32) Location {
	return Location{f.file, start[0], start[1], end[0], end[1]}
}

func (f *SourceFile) position(offset int) (line, column uint32) {
	before := f.text[:min(offset, len(f.text))]
	return uint32(strings.Count(before, "\n") + 1), uint32(len(before) - strings.LastIndex(before, "\n") - 1)
}

// Ref is a lazy result.
type Ref struct {
	ref   RefCalls
	calls Calls
}

// Start begins in the background. Start several, then read: that is how a frontend builds in parallel.
func (r *Ref) Start() { r.ref.Start() }

// Wait waits until it is built.
func (r *Ref) Wait() error { return r.ref.Wait() }

// ReadFile answers a file's bytes.
func (r *Ref) ReadFile(path string) ([]byte, error) { return r.ref.ReadFile(path) }

// ReadRange answers at most `length` bytes from `offset`.
func (r *Ref) ReadRange(path string, offset, length uint64) ([]byte, error) {
	return r.ref.ReadRange(path, offset, length)
}

// ReadText answers a file's text.
func (r *Ref) ReadText(path string) (string, error) { return r.ref.ReadText(path) }

// ReadDir answers the entries of a directory; `include` is a pattern for their names, or empty.
func (r *Ref) ReadDir(path, include string) ([]FileInfo, error) {
	var attrs []Attr
	if include != "" {
		attrs = []Attr{{"include", include}}
	}
	return r.ref.ReadDir(path, attrs)
}

// Stat answers what is at `path`.
func (r *Ref) Stat(path string) (FileInfo, error) { return r.ref.Stat(path) }

// State answers what it was made from, to build on.
func (r *Ref) State() State {
	edge, err := r.ref.Target()
	must(err)
	return State{r.calls, edge}
}
