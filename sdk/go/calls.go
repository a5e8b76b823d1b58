package pintle

// Calls are the functions of the interface: what a [Host] stands on. The engine answers them in a component, and a fake host in
// tests. wit/v0.1 says what each means.
type Calls interface {
	Supports(feature string) bool
	AddSource(identifier string, attrs []Attr) (Edge, error)
	AddExec(root *Edge, args []string, env []Attr, mounts []WitMount, attrs []Attr) (Edge, error)
	AddFile(base *Edge, actions []WitAction, attrs []Attr) (Edge, error)
	AddMerge(inputs []Edge, attrs []Attr) (Edge, error)
	AddDiff(lower, upper *Edge, attrs []Attr) (Edge, error)
	AddOp(kind string, inputs []*Edge, params []Attr, content []byte, attrs []Attr) (Edge, error)
	AddDefinition(definition []byte) (*Edge, error)
	AddSourceFile(name, language, text string, definition *Edge) (uint32, error)
	Locate(vertex uint32, places []Location) error
	Solve(target *Edge) (RefCalls, error)
	SolveFrontend(source string, opts []Attr, inputs map[string]*Edge) (map[string]RefCalls, map[string][]byte, error)
	ResolveSources(queries []WitQuery) []Answered
	Log(level, message string)
	Warn(vertex *uint32, message string, places []Location, attrs []Attr) error
}

// RefCalls are the methods of the interface's resource `ref`.
type RefCalls interface {
	Start()
	Wait() error
	ReadFile(path string) ([]byte, error)
	ReadRange(path string, offset, length uint64) ([]byte, error)
	ReadText(path string) (string, error)
	ReadDir(path string, attrs []Attr) ([]FileInfo, error)
	Stat(path string) (FileInfo, error)
	Target() (*Edge, error)
}

// WitMount is a mount as it crosses the interface.
type WitMount struct {
	Kind, Target string
	Input        *Edge
	Attrs        []Attr
}

// WitAction is a file action as it crosses the interface; Content is nil but for mkfile.
type WitAction struct {
	Kind, Path string
	Input      *Edge
	Content    []byte
	Attrs      []Attr
}

// WitQuery is a source to pin down as it crosses the interface.
type WitQuery struct {
	Identifier, Platform string
	Attrs                []Attr
}

// Answered is what a source turned out to be, or why it could not be pinned down.
type Answered struct {
	Meta SourceMeta
	Err  error
}

// SourceMeta is a source pinned down.
type SourceMeta struct {
	// Identifier is for [Host.Source]: pinned where that is possible.
	Identifier string
	// Attrs are for [Host.Source], beside what the query gave; see [Attribute].
	Attrs []Attr
	// Digest is the image's, the commit, or the checksum.
	Digest string
	// Config is the image config, JSON; empty when there is none.
	Config string
	// Facts are what else is known: ref, commit, modified ...
	Facts map[string][]byte
}

// FileInfo is what is known of a file.
type FileInfo struct {
	Path string
	// Kind is file, directory, symlink, block-device, char-device, fifo or socket.
	Kind string
	Mode uint32
	Size uint64
	// Mtime is in nanoseconds since 1970.
	Mtime    int64
	UID, GID uint32
	Link     string
}
