package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/builder"
	"github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/pkg/errors"
	fstypes "github.com/tonistiigi/fsutil/types"
)

// A host is the daemon as a frontend sees it. It builds nothing: a result is the definition that it would be made of.
type host struct {
	given  *testCase
	mutex  sync.Mutex
	answer answer
}

var _ client.Client = &host{}

func (h *host) BuildOpts() client.BuildOpts {
	platform := "linux/amd64"
	if h.given.BuildPlatform != "" {
		platform = h.given.BuildPlatform
	}
	if h.given.Opts == nil {
		h.given.Opts = map[string]string{}
	}
	return client.BuildOpts{
		Opts:    h.given.Opts,
		Workers: []client.WorkerInfo{{Platforms: []ocispecs.Platform{platforms.MustParse(platform)}}},
		LLBCaps: pb.Caps.CapSet(pb.Caps.All()),
		Caps:    gwpb.Caps.CapSet(gwpb.Caps.All()),
	}
}

func (h *host) Solve(ctx context.Context, request client.SolveRequest) (*client.Result, error) {
	if request.Definition == nil {
		return h.frontend(ctx, request)
	}
	result := client.NewResult()
	result.SetRef(&reference{host: h, definition: request.Definition})
	return result, nil
}

// frontend runs this frontend again, when it is asked for by the name that it has as an image.
func (h *host) frontend(ctx context.Context, request client.SolveRequest) (*client.Result, error) {
	source := request.FrontendOpt["source"]
	name, _, _ := strings.Cut(strings.TrimPrefix(source, "docker.io/"), ":")
	if name != "docker/dockerfile" && name != "docker/dockerfile-upstream" && name != "dockerfile.v0" {
		return nil, errors.Errorf("no frontend %q in this test", source)
	}
	given := *h.given
	given.Opts = request.FrontendOpt
	inner := &host{given: &given}
	result, err := builder.Build(ctx, inner)
	h.answer.Warnings = append(h.answer.Warnings, inner.answer.Warnings...)
	return result, err
}

func (h *host) ResolveSourceMetadata(_ context.Context, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	if seconds, ok := h.given.Times[op.Identifier]; ok {
		return madeAt(op, seconds), nil
	}
	if opt.ImageOpt == nil && opt.OCILayoutOpt == nil {
		return &sourceresolver.MetaResponse{Op: op}, nil
	}
	name := op.Identifier[strings.Index(op.Identifier, "://")+len("://"):]
	var platform *ocispecs.Platform
	if opt.ImageOpt != nil {
		platform = opt.ImageOpt.Platform
	} else if opt.OCILayoutOpt != nil {
		platform = opt.OCILayoutOpt.Platform
	}
	found, ok := h.given.Images[name]
	if platform != nil {
		if special, has := h.given.Images[name+" "+platforms.Format(platforms.Normalize(*platform))]; has {
			found, ok = special, true
		}
	}
	if !ok {
		return nil, errors.Errorf("%s: not found", op.Identifier)
	}
	return &sourceresolver.MetaResponse{
		Op:    op,
		Image: &sourceresolver.ResolveImageResponse{Digest: digest.Digest(found.Digest), Config: []byte(found.Config)},
	}, nil
}

// madeAt is what is known of a repository or a download.
func madeAt(op *pb.SourceOp, seconds int64) *sourceresolver.MetaResponse {
	if strings.HasPrefix(op.Identifier, "git://") {
		commit := fmt.Sprintf("tree 0\nauthor A <a@b> 1 +0000\ncommitter A <a@b> %d +0200\n\nwork\n", seconds)
		return &sourceresolver.MetaResponse{Op: op, Git: &sourceresolver.ResolveGitResponse{CommitObject: []byte(commit)}}
	}
	modified := time.Unix(seconds, 0)
	return &sourceresolver.MetaResponse{Op: op, HTTP: &sourceresolver.ResolveHTTPResponse{LastModified: &modified}}
}

func (h *host) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	return sourceresolver.NewImageMetaResolver(h).ResolveImageConfig(ctx, ref, opt)
}

func (h *host) Inputs(context.Context) (map[string]llb.State, error) {
	inputs := map[string]llb.State{}
	for name, identifier := range h.given.Inputs {
		scheme, _, _ := strings.Cut(identifier, "://")
		caps := map[apicaps.CapID]bool{apicaps.CapID("source." + strings.TrimPrefix(scheme, "docker-")): true}
		constraints := llb.Constraints{Metadata: llb.OpMetadata{Caps: caps}}
		inputs[name] = llb.NewState(llb.NewSource(identifier, nil, constraints).Output())
	}
	return inputs, nil
}

func (h *host) NewContainer(context.Context, client.NewContainerRequest) (client.Container, error) {
	return nil, errors.New("no containers in this test")
}

func (h *host) Warn(_ context.Context, _ digest.Digest, message string, opts client.WarnOpts) error {
	said := warning{Message: message, URL: opts.URL}
	for _, line := range opts.Detail {
		said.Detail = append(said.Detail, string(line))
	}
	for _, place := range opts.Range {
		said.Lines = append(said.Lines, [2]int32{place.Start.Line, place.End.Line})
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.answer.Warnings = append(h.answer.Warnings, said)
	return nil
}

// collect takes over what a build answered.
func (h *host) collect(result *client.Result) error {
	for key, value := range result.Metadata {
		h.answer.Metadata[key] = string(value)
	}
	refs := map[string]client.Reference{}
	for id, ref := range result.Refs {
		refs[id] = ref
	}
	if result.Ref != nil {
		refs[""] = result.Ref
	}
	for id, ref := range refs {
		definition, err := withoutChance(ref.(*reference).definition)
		if err != nil {
			return err
		}
		if h.answer.Refs[id], err = definition.Marshal(); err != nil {
			return err
		}
	}
	return nil
}

// A reference has the files that were scripted for the source which it is.
type reference struct {
	host       *host
	definition *pb.Definition
}

func (r *reference) ToState() (llb.State, error) {
	op, err := llb.NewDefinitionOp(r.definition)
	if err != nil {
		return llb.State{}, err
	}
	return llb.NewState(op), nil
}

func (r *reference) Evaluate(context.Context) error { return nil }

func (r *reference) file(path string) ([]byte, error) {
	for _, data := range r.definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return nil, err
		}
		if source := op.GetSource(); source != nil {
			if text, ok := r.host.given.Files[source.Identifier][strings.Trim(path, "/")]; ok {
				return []byte(text), nil
			}
		}
	}
	return nil, &os.PathError{Op: "open", Path: path, Err: os.ErrNotExist}
}

func (r *reference) ReadFile(_ context.Context, request client.ReadRequest) ([]byte, error) {
	data, err := r.file(request.Filename)
	if part := request.Range; err == nil && part != nil {
		data = data[min(part.Offset, len(data)):]
		data = data[:min(part.Length, len(data))]
	}
	return data, err
}

func (r *reference) StatFile(_ context.Context, request client.StatRequest) (*fstypes.Stat, error) {
	data, err := r.file(request.Path)
	if err != nil {
		return nil, err
	}
	return &fstypes.Stat{Path: request.Path, Size: int64(len(data)), Mode: 0o644}, nil
}

func (r *reference) ReadDir(_ context.Context, request client.ReadDirRequest) ([]*fstypes.Stat, error) {
	return nil, fmt.Errorf("%s: no directories in this test", request.Path)
}
