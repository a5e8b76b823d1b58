// protocol uses what is rarely used of BuildKit's protocol, by its own client library, and says what came of it.
//
//	protocol NAME BASE-IMAGE
package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"sort"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/exporter"
	"github.com/moby/buildkit/session/exporter/exporterprovider"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/tonistiigi/fsutil"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	ctx  = context.Background()
	c    *client.Client
	base string
)

func main() {
	var err error
	c, err = client.New(ctx, os.Getenv("BUILDKIT_HOST"))
	check(err)
	if len(os.Args) > 2 {
		base = os.Args[2]
	}
	map[string]func(){
		"session-exporters": sessionExporters, "finalize-export": finalizeExport, "metadata": metadataOnly,
		"file-action": fileAction, "trace": trace, "late": late, "collect": collect, "spans": spans,
	}[os.Args[1]]()
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func marshal(state llb.State) *pb.Definition {
	def, err := state.Marshal(ctx)
	check(err)
	return def.ToPB()
}

type buffer struct{ bytes.Buffer }

func (*buffer) Close() error { return nil }

// sessionExporters: the client looks at what was built, and says then where it is to go.
func sessionExporters() {
	state := llb.Scratch().File(llb.Mkfile("/a", 0o644, []byte("first"))).File(llb.Mkfile("/b", 0o644, []byte("second")))
	id := identity.NewID()
	target := filesync.NewFSSyncTarget()
	var out buffer
	provider := exporterprovider.New(func(ctx context.Context, md map[string][]byte, refs []string) ([]*exporter.ExporterRequest, error) {
		fmt.Println("metadata", string(md["said"]), "refs", len(refs))
		dir, err := c.GatewayClientForBuild(id).ReadDir(ctx, &gatewaypb.ReadDirRequest{Ref: refs[0], DirPath: "/"})
		if err != nil {
			return nil, err
		}
		for _, entry := range dir.Entries {
			fmt.Println("found", entry.Path)
		}
		target.Add(filesync.WithFSSync(0, func(map[string]string) (io.WriteCloser, error) { return &out, nil }))
		return []*exporter.ExporterRequest{{Type: client.ExporterOCI, Attrs: map[string]string{"compression": "zstd"}}}, nil
	})
	opt := client.SolveOpt{Ref: id, EnableSessionExporter: true, Session: []session.Attachable{provider, target}}
	_, err := c.Build(ctx, opt, "protocol", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: marshal(state)})
		if err == nil {
			res.AddMeta("said", []byte("word"))
		}
		return res, err
	}, nil)
	check(err)
	layers := 0
	for r := tar.NewReader(&out); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		if strings.HasPrefix(header.Name, "blobs/") {
			data, err := io.ReadAll(r)
			check(err)
			var manifest struct{ Layers []struct{ MediaType string } }
			if json.Unmarshal(data, &manifest) == nil {
				for _, layer := range manifest.Layers {
					layers++
					fmt.Println(layer.MediaType)
				}
			}
		}
	}
	fmt.Println("layers", layers)
	// An exporter that there is not, one of a client that has nobody to ask, and one that fails.
	for _, provider := range []session.Attachable{
		exporterprovider.New(func(context.Context, map[string][]byte, []string) ([]*exporter.ExporterRequest, error) {
			return []*exporter.ExporterRequest{{Type: "none"}}, nil
		}),
		exporterprovider.New(nil),
		exporterprovider.New(func(context.Context, map[string][]byte, []string) ([]*exporter.ExporterRequest, error) {
			return nil, errors.New("the client does not want it")
		}),
	} {
		def, err := state.Marshal(ctx)
		check(err)
		_, err = c.Solve(ctx, def, client.SolveOpt{EnableSessionExporter: true, Session: []session.Attachable{provider}}, nil)
		fmt.Println(err)
	}
}

// finalizeExport: the client hears the end of the exports before the build ends, and may fail it.
func finalizeExport() {
	def, err := llb.Image(base).Marshal(ctx)
	check(err)
	for _, answer := range []error{nil, status.Error(codes.Unavailable, "nobody there"), errors.New("not good enough")} {
		provider := exporterprovider.New(nil, exporterprovider.WithFinalizeCallback(func(_ context.Context, response map[string]string) error {
			fmt.Println("told of a digest", strings.HasPrefix(response["containerimage.digest"], "sha256:"))
			return answer
		}))
		exports := []client.ExportEntry{{Type: client.ExporterImage, Attrs: map[string]string{"name": "finalize"}}}
		_, err := c.Solve(ctx, def, client.SolveOpt{EnableSessionExporter: true, Exports: exports, Session: []session.Attachable{provider}}, nil)
		fmt.Println(err)
	}
}

// metadataOnly: of most files the list alone is sent.
func metadataOnly() {
	dir, err := os.MkdirTemp("", "protocol-")
	check(err)
	defer os.RemoveAll(dir)
	write := func(path string) {
		path = filepath.Join(dir, path)
		check(os.MkdirAll(filepath.Dir(path), 0o755))
		check(os.WriteFile(path, []byte(path), 0o644))
	}
	for _, path := range []string{"data", "dir/file1", "dir/file2", "dir/sub/bar1", "dir/sub/bar2", "dir/sub2/bar3", "foo"} {
		write(path)
	}
	for _, change := range []func(){func() {}, func() { check(os.RemoveAll(filepath.Join(dir, "dir/sub"))); write("dir/bar1") }} {
		change()
		fs, err := fsutil.NewFS(dir)
		check(err)
		out, err := os.MkdirTemp("", "protocol-")
		check(err)
		defer os.RemoveAll(out)
		def, err := llb.Local("source", llb.MetadataOnlyTransfer([]string{"dir/**/*1", "foo"})).Marshal(ctx)
		check(err)
		_, err = c.Solve(ctx, def, client.SolveOpt{
			Exports:     []client.ExportEntry{{Type: client.ExporterLocal, OutputDir: out}},
			LocalMounts: map[string]fsutil.FS{"source": fs},
		}, nil)
		check(err)
		var there []string
		check(filepath.WalkDir(out, func(path string, _ os.DirEntry, err error) error {
			rel, _ := filepath.Rel(out, path)
			there = append(there, rel)
			return err
		}))
		sort.Strings(there)
		fmt.Println("there", strings.Join(there, " "))
		list, err := os.ReadFile(filepath.Join(out, ".fsutil-metadata"))
		check(err)
		var listed []string
		for len(list) > 0 {
			size := binary.LittleEndian.Uint32(list)
			var stat fstypes.Stat
			check(stat.UnmarshalVT(list[4 : 4+size]))
			listed = append(listed, stat.Path)
			list = list[4+size:]
		}
		fmt.Println("listed", strings.Join(listed, " "))
	}
}

// fileAction: the trees of a file op that failed are opened by the ids in the error.
func fileAction() {
	found := llb.Mkdir("/found", 0o700).Mkfile("/found/foo", 0o600, []byte("made"))
	inner := llb.Mkdir("/foo", 0o700).Mkfile("/foo/bar", 0o600, []byte("inner"))
	states := []llb.State{
		llb.Scratch().File(found.Mkfile("/none/foo", 0o600, nil)),
		llb.Image(base).File(llb.Copy(llb.Scratch().File(inner), "/foo/bar", "/none/baz")),
		llb.Image(base).File(llb.Copy(inner.WithState(llb.Scratch()), "/foo/bar", "/none/baz")),
	}
	_, err := c.Build(ctx, client.SolveOpt{}, "protocol", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: marshal(llb.Image(base))})
		check(err)
		root, err := res.SingleRef()
		check(err)
		for _, state := range states {
			_, err := gw.Solve(ctx, gateway.SolveRequest{Evaluate: true, Definition: marshal(state)})
			var failed *errdefs.SolveError
			if !errors.As(err, &failed) {
				return nil, fmt.Errorf("no SolveError: %w", err)
			}
			subject, actions := failed.Subject.(*errdefs.Solve_File), failed.Op.GetFile().GetActions()
			index := subject.File.Index
			action := actions[index]
			fmt.Println("action", index, "of", len(actions), "inputs", len(failed.InputIDs), "trees", len(failed.MountIDs))
			mounts := []gateway.Mount{
				{Dest: "/", MountType: pb.MountType_BIND, Ref: root},
				{Dest: "/input", MountType: pb.MountType_BIND, ResultID: failed.MountIDs[index]},
			}
			if from := int(action.SecondaryInput); from >= 0 {
				ids := append(failed.InputIDs, failed.MountIDs...)
				mounts = append(mounts, gateway.Mount{Dest: "/secondary", MountType: pb.MountType_BIND, ResultID: ids[from]})
			}
			ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: mounts})
			check(err)
			var out buffer
			proc, err := ctr.Start(ctx, gateway.StartRequest{Args: []string{"sh", "-c", "cat /input/found/foo /secondary/foo/bar 2>/dev/null; exit 0"}, Cwd: "/", Stdout: &out})
			check(err)
			fmt.Println(proc.Wait(), out.String())
			check(ctr.Release(ctx))
		}
		return gateway.NewResult(), nil
	}, nil)
	check(err)
}
