package pintle

import (
	"encoding/json"
	"strings"

	witHost "github.com/pintle/pintle/sdk/go/internal/wit/imports/pintle_frontend_host"
	witLLB "github.com/pintle/pintle/sdk/go/internal/wit/imports/pintle_frontend_llb"
	wit "github.com/pintle/pintle/sdk/go/internal/wit/imports/pintle_frontend_types"

	export "github.com/pintle/pintle/sdk/go/internal/wit/export"
	_ "github.com/pintle/pintle/sdk/go/internal/wit/exports/wit_exports"
	"github.com/pintle/pintle/sdk/go/internal/wit/imports/wit_world"
	types "github.com/pintle/pintle/sdk/go/internal/wit/types"
)

// Export makes a frontend the component's. Call it in an init function of the program.
func Export(frontend Frontend) {
	export.OnBuild = func(opts export.Opts, inputs export.Inputs) types.Result[wit_world.Output, wit.Error] {
		output, err := Run(frontend, engine{}, request(opts, inputs))
		if err == nil {
			var made wit_world.Output
			if made, err = toOutput(output); err == nil {
				return types.Ok[wit_world.Output, wit.Error](made)
			}
		}
		return types.Err[wit_world.Output](toError(asError(err)))
	}
	export.OnRequest = func(kind string, opts export.Opts, inputs export.Inputs) types.Result[export.Answer, wit.Error] {
		answer, err := answered(frontend, kind, request(opts, inputs))
		if err != nil {
			return types.Err[export.Answer](toError(asError(err)))
		}
		return types.Ok[export.Answer, wit.Error](answer)
	}
}

func request(opts export.Opts, inputs export.Inputs) *Request {
	made := &Request{Opts: map[string]string{}, Inputs: map[string]State{}}
	for _, opt := range opts {
		made.Opts[strings.Clone(opt.F0)] = strings.Clone(opt.F1)
	}
	for _, input := range inputs {
		made.Inputs[strings.Clone(input.F0)] = State{engine{}, fromOption(input.F1)}
	}
	return made
}

func answered(frontend Frontend, kind string, request *Request) (made export.Answer, err error) {
	defer recovered(&err)
	var answer *Answer
	if requester, ok := frontend.(Requester); ok {
		answer, err = requester.Request(&Host{engine{}}, kind, request)
	}
	if err == nil && answer == nil {
		err = &Error{Code: "unsupported", Message: "no answer to request " + kind}
	}
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(answer.JSON)
	entry := func(key, value string) types.Tuple2[string, wit.Content] {
		return types.Tuple2[string, wit.Content]{F0: key, F1: wit.MakeContentText(value)}
	}
	return export.Answer{entry("result.json", string(text)), entry("result.txt", answer.Text)}, err
}

func toOutput(output *Output) (made wit_world.Output, err error) {
	add := func(key, value string) {
		entry := types.Tuple2[string, wit.Content]{F0: key, F1: wit.MakeContentText(value)}
		made.Metadata = append(made.Metadata, entry)
	}
	for _, key := range sorted(output.Metadata) {
		add(key, output.Metadata[key])
	}
	for _, platform := range sorted(output.Results) {
		result := output.Results[platform]
		edge := types.Tuple2[string, types.Option[wit.Edge]]{F0: platform, F1: toOption(result.State.edge)}
		made.Results = append(made.Results, edge)
		if result.Config != nil {
			text, err := json.Marshal(result.Config)
			if err != nil {
				return made, err
			}
			add(configKey(platform), string(text))
		}
	}
	return made, nil
}

// engine is the host behind the component's imports.
type engine struct{}

func (engine) Supports(feature string) bool { return witLLB.Supports(feature) }

func (engine) AddSource(identifier string, attrs []Attr) (Edge, error) {
	return edgeOf(witLLB.AddSource(identifier, toAttrs(attrs)))
}

func (engine) AddExec(root *Edge, args []string, env []Attr, mounts []WitMount, attrs []Attr) (Edge, error) {
	all := make([]witLLB.Mount, len(mounts))
	for i, mount := range mounts {
		all[i] = witLLB.Mount{Kind: mount.Kind, Target: mount.Target, Input: toOption(mount.Input), Attrs: toAttrs(mount.Attrs)}
	}
	return edgeOf(witLLB.AddExec(toOption(root), args, toAttrs(env), all, toAttrs(attrs)))
}

func (engine) AddFile(base *Edge, actions []WitAction, attrs []Attr) (Edge, error) {
	all := make([]witLLB.FileAction, len(actions))
	for i, action := range actions {
		content := types.None[wit.Content]()
		if action.Kind == "mkfile" {
			content = types.Some(wit.MakeContentBytes(action.Content))
		}
		all[i] = witLLB.FileAction{
			Kind: action.Kind, Path: action.Path, Input: toOption(action.Input), Content: content, Attrs: toAttrs(action.Attrs),
		}
	}
	return edgeOf(witLLB.AddFile(toOption(base), all, toAttrs(attrs)))
}

func (engine) AddMerge(inputs []Edge, attrs []Attr) (Edge, error) {
	all := make([]wit.Edge, len(inputs))
	for i, input := range inputs {
		all[i] = wit.Edge(input)
	}
	return edgeOf(witLLB.AddMerge(all, toAttrs(attrs)))
}

func (engine) AddDiff(lower, upper *Edge, attrs []Attr) (Edge, error) {
	return edgeOf(witLLB.AddDiff(toOption(lower), toOption(upper), toAttrs(attrs)))
}

func (engine) AddOp(kind string, inputs []*Edge, params []Attr, content []byte, attrs []Attr) (Edge, error) {
	edges := make([]types.Option[wit.Edge], len(inputs))
	for i, input := range inputs {
		edges[i] = toOption(input)
	}
	given := types.None[wit.Content]()
	if content != nil {
		given = types.Some(wit.MakeContentBytes(content))
	}
	return edgeOf(witLLB.AddOp(kind, edges, toAttrs(params), given, toAttrs(attrs)))
}

func (engine) AddDefinition(definition []byte) (*Edge, error) {
	edge, err := valueOf(witLLB.AddDefinition(definition))
	return fromOption(edge), err
}

func (engine) AddSourceFile(name, language, text string, definition *Edge) (uint32, error) {
	return valueOf(witLLB.AddSourceFile(name, language, wit.MakeContentText(text), toOption(definition)))
}

func (engine) Locate(vertex uint32, places []Location) error {
	return errorOf(witLLB.Locate(vertex, toPlaces(places)))
}

func (engine) Solve(target *Edge) (RefCalls, error) {
	found, err := valueOf(witHost.Solve(toOption(target), nil))
	return ref{found}, err
}

func (engine) SolveFrontend(source string, opts []Attr, inputs map[string]*Edge) (map[string]RefCalls, map[string][]byte, error) {
	var edges export.Inputs
	for _, name := range sorted(inputs) {
		edges = append(edges, types.Tuple2[string, types.Option[wit.Edge]]{F0: name, F1: toOption(inputs[name])})
	}
	solved, err := valueOf(witHost.SolveFrontend(source, toAttrs(opts), edges))
	refs, metadata := map[string]RefCalls{}, map[string][]byte{}
	for _, found := range solved.Refs {
		refs[found.F0] = ref{found.F1}
	}
	for _, entry := range solved.Metadata {
		metadata[entry.F0] = toBytes(entry.F1)
	}
	return refs, metadata, err
}

func (engine) ResolveSources(queries []WitQuery) []Answered {
	all := make([]witHost.SourceQuery, len(queries))
	for i, query := range queries {
		all[i] = witHost.SourceQuery{Identifier: query.Identifier, Attrs: toAttrs(query.Attrs)}
		if query.Platform != "" {
			all[i].Platform = types.Some(query.Platform)
		}
	}
	answers := make([]Answered, len(queries))
	for i, answer := range witHost.ResolveSources(all) {
		if answers[i].Err = errorOf(answer); answers[i].Err == nil {
			answers[i].Meta = toMeta(answer.Ok())
		}
	}
	return answers
}

func (engine) Log(level, message string) { witHost.Log(level, message) }

func (engine) Warn(vertex *uint32, message string, places []Location, attrs []Attr) error {
	about := types.None[uint32]()
	if vertex != nil {
		about = types.Some(*vertex)
	}
	return errorOf(witHost.Warn(about, message, toPlaces(places), toAttrs(attrs)))
}

// ref is a result of the engine.
type ref struct{ *witHost.Ref }

func (r ref) Wait() error                          { return errorOf(r.Ref.Wait()) }
func (r ref) ReadFile(path string) ([]byte, error) { return valueOf(r.Ref.ReadFile(path)) }
func (r ref) ReadText(path string) (string, error) { return valueOf(r.Ref.ReadText(path)) }

func (r ref) ReadRange(path string, offset, length uint64) ([]byte, error) {
	return valueOf(r.Ref.ReadRange(path, offset, length))
}

func (r ref) ReadDir(path string, attrs []Attr) ([]FileInfo, error) {
	entries, err := valueOf(r.Ref.ReadDir(path, toAttrs(attrs)))
	all := make([]FileInfo, len(entries))
	for i, entry := range entries {
		all[i] = toInfo(entry)
	}
	return all, err
}

func (r ref) Stat(path string) (FileInfo, error) {
	info, err := valueOf(r.Ref.Stat(path))
	return toInfo(info), err
}

func (r ref) Target() (*Edge, error) {
	edge, err := valueOf(r.Ref.Target())
	return fromOption(edge), err
}

func toInfo(info witHost.FileInfo) FileInfo {
	return FileInfo{info.Path, info.Kind, info.Mode, info.Size, info.Mtime, info.Uid, info.Gid, info.Link}
}

func toMeta(meta witHost.SourceMeta) SourceMeta {
	made := SourceMeta{Identifier: meta.Identifier, Attrs: fromAttrs(meta.Attrs), Digest: meta.Digest, Facts: map[string][]byte{}}
	if meta.Config.Tag() == types.OptionSome {
		made.Config = meta.Config.Some()
	}
	for _, fact := range meta.Facts {
		made.Facts[fact.F0] = toBytes(fact.F1)
	}
	return made
}

func toBytes(content wit.Content) []byte {
	if content.Tag() == wit.Content_Text {
		return []byte(content.Text())
	}
	return content.Bytes()
}

func valueOf[T any](result types.Result[T, wit.Error]) (T, error) {
	return result.Ok(), errorOf(result)
}

func errorOf[T any](result types.Result[T, wit.Error]) error {
	if result.Tag() == types.ResultOk {
		return nil
	}
	found := result.Err()
	err := &Error{Code: found.Code, Message: found.Message, Detail: fromAttrs(found.Detail)}
	for _, place := range found.Places {
		err.Places = append(err.Places, Location(place))
	}
	return err
}

func edgeOf(result types.Result[wit.Edge, wit.Error]) (Edge, error) {
	edge, err := valueOf(result)
	return Edge(edge), err
}

func toError(err *Error) wit.Error {
	return wit.Error{Code: err.Code, Message: err.Message, Detail: toAttrs(err.Detail), Places: toPlaces(err.Places)}
}

func toAttrs(attrs []Attr) []types.Tuple2[string, string] {
	all := make([]types.Tuple2[string, string], len(attrs))
	for i, attr := range attrs {
		all[i] = types.Tuple2[string, string]{F0: attr.Word, F1: attr.Value}
	}
	return all
}

func fromAttrs(attrs []types.Tuple2[string, string]) []Attr {
	var all []Attr
	for _, attr := range attrs {
		all = append(all, Attr{attr.F0, attr.F1})
	}
	return all
}

func toPlaces(places []Location) []wit.Location {
	all := make([]wit.Location, len(places))
	for i, place := range places {
		all[i] = wit.Location(place)
	}
	return all
}

func toOption(edge *Edge) types.Option[wit.Edge] {
	if edge == nil {
		return types.None[wit.Edge]()
	}
	return types.Some(wit.Edge(*edge))
}

func fromOption(option types.Option[wit.Edge]) *Edge {
	if option.Tag() == types.OptionNone {
		return nil
	}
	edge := Edge(option.Some())
	return &edge
}
