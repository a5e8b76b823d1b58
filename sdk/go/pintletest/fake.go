// Package pintletest has a host of scripted images and files, for unit tests of frontends.
package pintletest

import (
	"encoding/json"
	"fmt"
	"path"
	"sort"
	"strings"

	pintle "github.com/pintle/pintle/sdk/go"
)

// FakeHost is a host of scripted images and files. It refuses what an engine would: an unknown option, a vertex that does not exist.
type FakeHost struct {
	vertices []string
	places   [][]pintle.Location
	sources  []string
	images   map[string]pintle.SourceMeta
	files    map[string]map[string]string
	// Logs are lines that the frontend sent, as `level: message`.
	Logs []string
	// Warnings are the texts of warnings that the frontend sent.
	Warnings []string
}

// Built is what a frontend answered.
type Built struct {
	// Graph has a line for each vertex, by number, in the order in which they were added.
	Graph string
	// Results are the vertex and output of each platform.
	Results map[string]string
	// Configs are the image configs of each platform, as JSON.
	Configs  map[string]string
	Metadata map[string]string
}

// New knows nothing.
func New() *FakeHost {
	return &FakeHost{images: map[string]pintle.SourceMeta{}, files: map[string]map[string]string{}}
}

// Image scripts an image by its full reference; `config` is JSON.
func (f *FakeHost) Image(reference, digest, config string) *FakeHost {
	identifier := "docker-image://" + reference
	f.images[identifier] = pintle.SourceMeta{Identifier: identifier + "@" + digest, Digest: digest, Config: config}
	return f
}

// File scripts a file of a source, by the source's identifier (`local://context`).
func (f *FakeHost) File(identifier, path, content string) *FakeHost {
	if f.files[identifier] == nil {
		f.files[identifier] = map[string]string{}
	}
	f.files[identifier][clean(path)] = content
	return f
}

// Build runs a frontend.
func (f *FakeHost) Build(frontend pintle.Frontend, opts map[string]string) (*Built, error) {
	if opts == nil {
		opts = map[string]string{}
	}
	output, err := pintle.Run(frontend, (*calls)(f), &pintle.Request{Opts: opts, Inputs: map[string]pintle.State{}})
	if err != nil {
		return nil, err
	}
	built := &Built{Results: map[string]string{}, Configs: map[string]string{}, Metadata: output.Metadata}
	for number, vertex := range f.vertices {
		built.Graph += fmt.Sprintf("%d: %s\n", number, vertex)
	}
	for platform, result := range output.Results {
		built.Results[platform] = shown(result.State.Edge())
		if result.Config != nil {
			built.Configs[platform] = toJSON(result.Config)
		}
	}
	return built, nil
}

// Excerpt is the lines of a source text that a place covers.
func (f *FakeHost) Excerpt(place pintle.Location) string {
	lines := strings.Split(f.sources[place.File], "\n")
	return strings.Join(lines[place.StartLine-1:place.EndLine], "\n")
}

// Places are where a vertex comes from.
func (f *FakeHost) Places(vertex int) []pintle.Location { return f.places[vertex] }

// calls are the interface's functions over a fake host.
type calls FakeHost

func (c *calls) add(text string) pintle.Edge {
	for number, known := range c.vertices {
		if known == text {
			return pintle.Edge{Vertex: uint32(number)}
		}
	}
	c.vertices = append(c.vertices, text)
	c.places = append(c.places, nil)
	return pintle.Edge{Vertex: uint32(len(c.vertices) - 1)}
}

func (c *calls) check(edges ...*pintle.Edge) error {
	for _, edge := range edges {
		if edge != nil && int(edge.Vertex) >= len(c.vertices) {
			return refused("invalid-argument", "vertex %d: there is none of this number", edge.Vertex)
		}
	}
	return nil
}

func (c *calls) Supports(feature string) bool { return supports(feature) }

func (c *calls) AddSource(identifier string, attrs []pintle.Attr) (pintle.Edge, error) {
	scheme, _, _ := strings.Cut(identifier, "://")
	if scheme == "https" {
		scheme = "http"
	}
	if err := checkWords(attrs, "vertex", "source."+scheme); err != nil {
		return pintle.Edge{}, err
	}
	return c.add("source " + identifier + words(attrs)), nil
}

func (c *calls) AddExec(root *pintle.Edge, args []string, env []pintle.Attr, mounts []pintle.WitMount, attrs []pintle.Attr) (pintle.Edge, error) {
	err := first(c.check(root), checkWords(attrs, "vertex", "exec"))
	if len(args) == 0 {
		err = first(err, refused("invalid-argument", "a command has at least one argument"))
	}
	text := fmt.Sprintf("exec %s on %s%s", toJSON(args), shown(root), words(attrs))
	for _, variable := range env {
		text += fmt.Sprintf("\n    env %s=%s", variable.Word, variable.Value)
	}
	for _, mount := range mounts {
		err = first(err, c.check(mount.Input), checkWords(mount.Attrs, "mount", "mount."+mount.Kind))
		text += fmt.Sprintf("\n    %s %s %s%s", mount.Kind, mount.Target, shown(mount.Input), words(mount.Attrs))
	}
	if err != nil {
		return pintle.Edge{}, err
	}
	return c.add(text), nil
}

func (c *calls) AddFile(base *pintle.Edge, actions []pintle.WitAction, attrs []pintle.Attr) (pintle.Edge, error) {
	err := first(c.check(base), checkWords(attrs, "vertex"))
	text := "file on " + shown(base) + words(attrs)
	for _, action := range actions {
		err = first(err, c.check(action.Input), checkWords(action.Attrs, "file."+action.Kind))
		text += fmt.Sprintf("\n    %s %s", action.Kind, action.Path)
		if action.Kind == "copy" {
			text += " from " + shown(action.Input)
		}
		if action.Kind == "mkfile" {
			text += " " + toJSON(string(action.Content))
		}
		text += words(action.Attrs)
	}
	if err != nil {
		return pintle.Edge{}, err
	}
	return c.add(text), nil
}

func (c *calls) AddMerge(inputs []pintle.Edge, attrs []pintle.Attr) (pintle.Edge, error) {
	err := checkWords(attrs, "vertex")
	text := "merge"
	for _, input := range inputs {
		err = first(err, c.check(&input))
		text += " " + shown(&input)
	}
	if err != nil {
		return pintle.Edge{}, err
	}
	return c.add(text + words(attrs)), nil
}

func (c *calls) AddDiff(lower, upper *pintle.Edge, attrs []pintle.Attr) (pintle.Edge, error) {
	if err := first(c.check(lower, upper), checkWords(attrs, "vertex")); err != nil {
		return pintle.Edge{}, err
	}
	return c.add(fmt.Sprintf("diff %s %s%s", shown(lower), shown(upper), words(attrs))), nil
}

func (c *calls) AddOp(kind string, inputs []*pintle.Edge, params []pintle.Attr, content []byte, attrs []pintle.Attr) (pintle.Edge, error) {
	if err := first(c.check(inputs...), checkWords(params, "op."+kind), checkWords(attrs, "vertex")); err != nil {
		return pintle.Edge{}, err
	}
	text := kind
	for _, input := range inputs {
		text += " " + shown(input)
	}
	if content != nil {
		text += " " + toJSON(string(content))
	}
	return c.add(text + words(params) + words(attrs)), nil
}

func (c *calls) AddDefinition([]byte) (*pintle.Edge, error) {
	return nil, refused("unsupported", "the fake host reads no definitions")
}

func (c *calls) AddSourceFile(name, language, text string, definition *pintle.Edge) (uint32, error) {
	c.sources = append(c.sources, text)
	return uint32(len(c.sources) - 1), c.check(definition)
}

func (c *calls) Locate(vertex uint32, places []pintle.Location) error {
	if err := c.check(&pintle.Edge{Vertex: vertex}); err != nil {
		return err
	}
	c.places[vertex] = append(c.places[vertex], places...)
	return nil
}

func (c *calls) Solve(target *pintle.Edge) (pintle.RefCalls, error) {
	if err := c.check(target); err != nil {
		return nil, err
	}
	made := &ref{edge: target}
	if target != nil {
		if rest, ok := strings.CutPrefix(c.vertices[target.Vertex], "source "); ok {
			identifier, _, _ := strings.Cut(rest, " ")
			made.files = c.files[identifier]
		}
	}
	return made, nil
}

func (c *calls) SolveFrontend(source string, _ []pintle.Attr, _ map[string]*pintle.Edge) (map[string]pintle.RefCalls, map[string][]byte, error) {
	return nil, nil, refused("unsupported", "the fake host has no frontend %s", source)
}

func (c *calls) ResolveSources(queries []pintle.WitQuery) []pintle.Answered {
	answers := make([]pintle.Answered, len(queries))
	for i, query := range queries {
		image, ok := c.images[query.Identifier]
		if !ok {
			answers[i].Err = refused("not-found", "%s: not scripted", query.Identifier)
		}
		answers[i].Meta = image
	}
	return answers
}

func (c *calls) Log(level, message string) { c.Logs = append(c.Logs, level+": "+message) }

func (c *calls) Warn(_ *uint32, message string, _ []pintle.Location, attrs []pintle.Attr) error {
	c.Warnings = append(c.Warnings, message)
	return checkWords(attrs, "warn")
}

// ref is a result with scripted files.
type ref struct {
	edge  *pintle.Edge
	files map[string]string
}

func (r *ref) Start()      {}
func (r *ref) Wait() error { return nil }

func (r *ref) ReadFile(path string) ([]byte, error) {
	text, err := r.ReadText(path)
	return []byte(text), err
}

func (r *ref) ReadRange(path string, offset, length uint64) ([]byte, error) {
	text, err := r.ReadText(path)
	from := min(offset, uint64(len(text)))
	return []byte(text[from:min(from+length, uint64(len(text)))]), err
}

func (r *ref) ReadText(path string) (string, error) {
	text, ok := r.files[clean(path)]
	if !ok {
		return "", refused("not-found", "%s: no such file", path)
	}
	return text, nil
}

func (r *ref) ReadDir(directory string, _ []pintle.Attr) ([]pintle.FileInfo, error) {
	prefix := ""
	if clean(directory) != "" {
		prefix = clean(directory) + "/"
	}
	names := map[string]bool{}
	for name := range r.files {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			entry, _, _ := strings.Cut(rest, "/")
			names[entry] = true
		}
	}
	var infos []pintle.FileInfo
	for name := range names {
		info, err := r.Stat(prefix + name)
		if err != nil {
			return nil, err
		}
		infos = append(infos, info)
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Path < infos[j].Path })
	return infos, nil
}

func (r *ref) Stat(name string) (pintle.FileInfo, error) {
	if text, ok := r.files[clean(name)]; ok {
		return pintle.FileInfo{Path: path.Base(name), Kind: "file", Mode: 0o644, Size: uint64(len(text))}, nil
	}
	for other := range r.files {
		if strings.HasPrefix(other, clean(name)+"/") || clean(name) == "" {
			return pintle.FileInfo{Path: path.Base(name), Kind: "directory", Mode: 0o755}, nil
		}
	}
	return pintle.FileInfo{}, refused("not-found", "%s: no such file or directory", name)
}

func (r *ref) Target() (*pintle.Edge, error) { return r.edge, nil }

func refused(code, format string, args ...any) error {
	return &pintle.Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func checkWords(attrs []pintle.Attr, places ...string) error {
	for _, attr := range attrs {
		if !strings.HasPrefix(attr.Word, "?") && !isKnown(places, attr.Word) {
			return refused("unknown-attr", "attribute %q of %s: not known", attr.Word, places[len(places)-1])
		}
	}
	return nil
}

func shown(edge *pintle.Edge) string {
	switch {
	case edge == nil:
		return "scratch"
	case edge.Output == 0:
		return fmt.Sprint(edge.Vertex)
	}
	return fmt.Sprintf("%d:%d", edge.Vertex, edge.Output)
}

func words(attrs []pintle.Attr) string {
	text := ""
	for _, attr := range attrs {
		value := attr.Value
		if strings.ContainsAny(value, " \t\n\"") {
			value = toJSON(value)
		}
		text += " " + attr.Word + "=" + value
	}
	return text
}

func toJSON(value any) string {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(text.String())
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }
