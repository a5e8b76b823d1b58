// Package pintle is what an author of a build language writes against, in Go. See README.md.
package pintle

import (
	"encoding/json"
	"fmt"
	"runtime/debug"
	"sort"
	"strings"
)

// Frontend is a build language. An error that is an [*Error] is for the user; any other is shown with its text.
type Frontend interface {
	// Build turns what the user asked for into a graph.
	Build(cx *Host, request *Request) (*Output, error)
}

// Requester is a [Frontend] that answers `describe`, `outline`, `targets` or `lint` without building. No answer leaves it to the host.
type Requester interface {
	Request(cx *Host, kind string, request *Request) (*Answer, error)
}

// Request is what the user asked for.
type Request struct {
	// Opts are target, platform, filename, build-arg:NAME, label:NAME, context:NAME ...
	Opts map[string]string
	// Inputs are trees that are there already, by name.
	Inputs map[string]State
}

// Opt answers an option, "" when it is missing.
func (r *Request) Opt(name string) string { return r.Opts[name] }

// OptOr answers an option, or `other` when it is missing or empty.
func (r *Request) OptOr(name, other string) string {
	if value := r.Opts[name]; value != "" {
		return value
	}
	return other
}

// OptsWith answers the options whose names begin with `prefix`, by what follows it: `build-arg:`, `label:`, `context:`.
func (r *Request) OptsWith(prefix string) map[string]string {
	found := map[string]string{}
	for name, value := range r.Opts {
		if rest, ok := strings.CutPrefix(name, prefix); ok {
			found[rest] = value
		}
	}
	return found
}

// Platforms answers the platforms asked for; the builder's own when there is none.
func (r *Request) Platforms() []string {
	asked := strings.Split(r.OptOr("platform", r.OptOr("build-platform", "linux/amd64")), ",")
	for i := range asked {
		asked[i] = strings.TrimSpace(asked[i])
	}
	return asked
}

// Output is what a build answers.
type Output struct {
	// Results by platform, "" when there is one only.
	Results map[string]Result
	// Metadata beside the image configs.
	Metadata map[string]string
}

// Result is a result for one platform.
type Result struct {
	State State
	// Config is the image config, which is written as JSON; nil when there is none.
	Config any
}

// One is the output of a build for no platform in particular.
func One(state State, config any) *Output {
	return &Output{Results: map[string]Result{"": {State: state, Config: config}}}
}

// Scanned adds trees that a bill of materials is made of beside the result for `platform`, by names of letters, digits, `.`, `_` and
// `-`. The host looks at them when it makes one.
func (o *Output) Scanned(platform string, trees map[string]State) *Output {
	edges := map[string]*[2]uint32{}
	for name, state := range trees {
		edges[name] = nil
		if state.edge != nil {
			edges[name] = &[2]uint32{state.edge.Vertex, state.edge.Output}
		}
	}
	text, err := json.Marshal(edges)
	must(err)
	if o.Metadata == nil {
		o.Metadata = map[string]string{}
	}
	o.Metadata[strings.TrimSuffix("sbom.extras/"+platform, "/")] = string(text)
	return o
}

// Answer is what a request answers: for machines (it is written as JSON), and for readers.
type Answer struct {
	JSON any
	Text string
}

// Edge is one output of a vertex of the host's graph.
type Edge struct{ Vertex, Output uint32 }

// Attr is a word of attributes.md and its value.
type Attr struct{ Word, Value string }

// Location is a place in a source text: lines from 1, columns from 0 in bytes; both ends are included.
type Location struct{ File, StartLine, StartColumn, EndLine, EndColumn uint32 }

// Error is an error for the user: a fragment that names what, where and what to do.
type Error struct {
	// Code is a word to program against: not-found, invalid-argument, unsupported, denied ...
	Code    string
	Message string
	// Detail is more to program against.
	Detail []Attr
	// Places are where in the source texts.
	Places []Location
}

func (e *Error) Error() string { return e.Message }

// At is the error with a place.
func (e *Error) At(places ...Location) *Error {
	e.Places = append(e.Places, places...)
	return e
}

// Errorf is an error of what the user wrote.
func Errorf(format string, args ...any) *Error {
	return &Error{Code: "invalid-argument", Message: fmt.Sprintf(format, args...)}
}

// Run runs a frontend over calls of a host: what a component's exports, and tests, do. A call that the host refuses ends it.
func Run(frontend Frontend, calls Calls, request *Request) (output *Output, err error) {
	defer recovered(&err)
	cx := &Host{calls}
	for name, state := range request.Inputs {
		request.Inputs[name] = cx.State(state.edge)
	}
	output, err = frontend.Build(cx, request)
	if err == nil && output == nil {
		err = &Error{Code: "internal", Message: "Build answered nothing"}
	}
	return output, err
}

// recovered makes an error of a panic: of what the host refused, or of a mistake of the author's, with its stack.
func recovered(err *error) {
	switch cause := recover().(type) {
	case nil:
	case *Error:
		*err = cause
	default:
		*err = &Error{Code: "internal", Message: strings.Join(append([]string{fmt.Sprint(cause)}, stack()...), "\n  ")}
	}
}

// stack is the frames of the author's code, the innermost first.
func stack() []string {
	var frames []string
	for _, line := range strings.Split(string(debug.Stack()), "\n") {
		place, isPlace := strings.CutPrefix(line, "\t")
		// Paths are as they are on the builder's disk, or as -trimpath leaves them.
		isOurs := strings.Contains(place, "sdk/go/") || strings.Contains(place, "sdk/go@")
		isRuntime := strings.Contains(place, "/src/runtime/") || strings.HasPrefix(place, "runtime/")
		if isPlace && !isOurs && !isRuntime {
			frames = append(frames, strings.Split(place, " +")[0])
		}
	}
	return frames
}

// asError is any error as one for the user.
func asError(err error) *Error {
	if own, ok := err.(*Error); ok {
		return own
	}
	return &Error{Code: "internal", Message: err.Error()}
}

// sorted answers the keys of a map in order: what crosses the interface is the same in every run.
func sorted[T any](values map[string]T) []string {
	keys := make([]string, 0, len(values))
	for key := range values {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}

// configKey is the metadata key of an image config.
func configKey(platform string) string {
	if platform == "" {
		return "containerimage.config"
	}
	return "containerimage.config/" + platform
}
