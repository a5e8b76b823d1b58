// hostile sends a daemon what no honest client sends, group by group. For each it prints what is wrong; nothing is right.
//
//	hostile GROUP BASE-IMAGE
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	contentapi "github.com/containerd/containerd/api/services/content/v1"
	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gatewayapi "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	fstypes "github.com/tonistiigi/fsutil/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// How long a call may take: a daemon that is busy answers late, one that waits for ever is wrong.
const limit = 30 * time.Second

var (
	address = strings.TrimPrefix(os.Getenv("BUILDKIT_HOST"), "unix://")
	base    = os.Args[2]
	conn    *grpc.ClientConn
	control controlapi.ControlClient
)

func main() {
	var err error
	conn, err = grpc.NewClient("unix://"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	check(err)
	control = controlapi.NewControlClient(conn)
	map[string]func(){
		"definitions": definitions, "requests": requests, "gateway": gateway, "connections": connections, "files": files,
		"transfers": transfers, "crowd": crowd, "row": row, "unused": unused,
	}[os.Args[1]]()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err = control.Info(ctx, &controlapi.InfoRequest{})
	check(err)
	fmt.Println("the daemon lives")
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// refused makes a call that must fail, soon, and not for want of a daemon.
func refused(name string, call func(ctx context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	err := call(ctx)
	switch status.Code(err) {
	case codes.OK:
		fmt.Printf("%s: was taken\n", name)
	case codes.Unavailable, codes.DeadlineExceeded, codes.Internal:
		fmt.Printf("%s: %v\n", name, err)
	}
}

func solve(ctx context.Context, req *controlapi.SolveRequest) error {
	if req.Ref == "" {
		req.Ref = identity.NewID()
	}
	_, err := control.Solve(ctx, req)
	return err
}

type graph struct{ def *pb.Definition }

func (g *graph) add(op *pb.Op) string {
	data, err := op.MarshalVT()
	check(err)
	g.def.Def = append(g.def.Def, data)
	return string(digest.FromBytes(data))
}

// define makes a definition of ops, each with the ops before it that it names, and of the last one's output.
func define(build func(g *graph) *pb.Input) *pb.Definition {
	g := &graph{def: &pb.Definition{}}
	g.add(&pb.Op{Inputs: []*pb.Input{build(g)}})
	return g.def
}

func image(g *graph) *pb.Input {
	op := &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://" + base}}}
	return &pb.Input{Digest: g.add(op)}
}

// exec is a definition of one process, spoilt.
func exec(spoil func(op *pb.ExecOp)) *pb.Definition {
	return define(func(g *graph) *pb.Input {
		op := &pb.ExecOp{
			Meta:   &pb.Meta{Args: []string{"true"}, Cwd: "/"},
			Mounts: []*pb.Mount{{Input: 0, Dest: "/", Output: 0}},
		}
		in := image(g)
		spoil(op)
		return &pb.Input{Digest: g.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Exec{Exec: op}})}
	})
}

func mount(spoil func(m *pb.Mount)) *pb.Definition {
	return exec(func(op *pb.ExecOp) {
		m := &pb.Mount{Input: -1, Dest: "/m", Output: -1, MountType: pb.MountType_TMPFS}
		spoil(m)
		op.Mounts = append(op.Mounts, m)
	})
}

func action(spoil func(a *pb.FileAction)) *pb.Definition {
	return define(func(g *graph) *pb.Input {
		a := &pb.FileAction{Input: 0, SecondaryInput: -1, Output: 0}
		in := image(g)
		spoil(a)
		op := &pb.Op_File{File: &pb.FileOp{Actions: []*pb.FileAction{a}}}
		return &pb.Input{Digest: g.add(&pb.Op{Inputs: []*pb.Input{in}, Op: op})}
	})
}

func rm(path string) *pb.Definition {
	return action(func(a *pb.FileAction) {
		a.Action = &pb.FileAction_Rm{Rm: &pb.FileActionRm{Path: path, AllowNotFound: true}}
	})
}

func mkfile(spoil func(f *pb.FileActionMkFile)) *pb.Definition {
	return action(func(a *pb.FileAction) {
		f := &pb.FileActionMkFile{Path: "/f", Mode: 0o644, Timestamp: -1}
		spoil(f)
		a.Action = &pb.FileAction_Mkfile{Mkfile: f}
	})
}

func source(identifier string, attrs map[string]string) *pb.Definition {
	return define(func(g *graph) *pb.Input {
		return &pb.Input{Digest: g.add(&pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: identifier, Attrs: attrs}}})}
	})
}

func single(op *pb.Op) *pb.Definition {
	return define(func(g *graph) *pb.Input {
		op.Inputs = append([]*pb.Input{image(g)}, op.Inputs...)
		return &pb.Input{Digest: g.add(op)}
	})
}

func definitions() {
	unknown := string(digest.FromString("unknown"))
	bytes := func(data ...[]byte) *pb.Definition { return &pb.Definition{Def: data} }
	table := map[string]*pb.Definition{
		"garbage":                 bytes([]byte("garbage")),
		"empty op":                bytes([]byte{}),
		"no result":               bytes([]byte{}, []byte{}),
		"input not there":         define(func(*graph) *pb.Input { return &pb.Input{Digest: unknown} }),
		"input no digest":         define(func(*graph) *pb.Input { return &pb.Input{Digest: "../../x"} }),
		"output out of range":     define(func(g *graph) *pb.Input { in := image(g); in.Index = 1 << 40; return in }),
		"output negative":         define(func(g *graph) *pb.Input { in := image(g); in.Index = -5; return in }),
		"op of no kind":           single(&pb.Op{}),
		"input of input":          single(&pb.Op{Inputs: []*pb.Input{{Digest: unknown}}, Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}, {Input: 1}}}}}),
		"no meta":                 exec(func(op *pb.ExecOp) { op.Meta = nil }),
		"no args":                 exec(func(op *pb.ExecOp) { op.Meta.Args = nil }),
		"NUL in args":             exec(func(op *pb.ExecOp) { op.Meta.Args = []string{"a\x00b"} }),
		"relative cwd":            exec(func(op *pb.ExecOp) { op.Meta.Cwd = "a" }),
		"env without name":        exec(func(op *pb.ExecOp) { op.Meta.Env = []string{"=x"} }),
		"env without value":       exec(func(op *pb.ExecOp) { op.Meta.Env = []string{"x"} }),
		"user too large":          exec(func(op *pb.ExecOp) { op.Meta.User = "999999999999" }),
		"no mounts":               exec(func(op *pb.ExecOp) { op.Mounts = nil }),
		"nil mount":               exec(func(op *pb.ExecOp) { op.Mounts = append(op.Mounts, &pb.Mount{}) }),
		"two roots":               exec(func(op *pb.ExecOp) { op.Mounts = append(op.Mounts, op.Mounts[0]) }),
		"mount input 9":           exec(func(op *pb.ExecOp) { op.Mounts[0].Input = 9 }),
		"mount input -9":          exec(func(op *pb.ExecOp) { op.Mounts[0].Input = -9 }),
		"mount output far":        exec(func(op *pb.ExecOp) { op.Mounts[0].Output = math.MaxInt64 }),
		"mount output -9":         exec(func(op *pb.ExecOp) { op.Mounts[0].Output = -9 }),
		"network 9":               exec(func(op *pb.ExecOp) { op.Network = 9 }),
		"network host":            exec(func(op *pb.ExecOp) { op.Network = pb.NetMode_HOST }),
		"security 1":              exec(func(op *pb.ExecOp) { op.Security = pb.SecurityMode_INSECURE }),
		"security 2":              exec(func(op *pb.ExecOp) { op.Security = 2 }),
		"security -1":             exec(func(op *pb.ExecOp) { op.Security = -1 }),
		"security max":            exec(func(op *pb.ExecOp) { op.Security = math.MaxInt32 }),
		"ulimit unknown":          exec(func(op *pb.ExecOp) { op.Meta.Ulimit = []*pb.Ulimit{{Name: "x"}} }),
		"ulimit negative":         exec(func(op *pb.ExecOp) { op.Meta.Ulimit = []*pb.Ulimit{{Name: "nofile", Soft: -7}} }),
		"exit code 256":           exec(func(op *pb.ExecOp) { op.Meta.ValidExitCodes = []int32{256} }),
		"cgroup escape":           exec(func(op *pb.ExecOp) { op.Meta.CgroupParent = "../../.." }),
		"hostname":                exec(func(op *pb.ExecOp) { op.Meta.Hostname = "a\nb" }),
		"extra host":              exec(func(op *pb.ExecOp) { op.Meta.ExtraHosts = []*pb.HostIP{{Host: "a\nb", IP: "1.2.3.4\n0.0.0.0 x"}} }),
		"secret env without id":   exec(func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{Name: "A"}} }),
		"secret env without name": exec(func(op *pb.ExecOp) { op.Secretenv = []*pb.SecretEnv{{ID: "a"}} }),
		"device":                  exec(func(op *pb.ExecOp) { op.CdiDevices = []*pb.CDIDevice{{Name: "vendor.com/x=y"}} }),
		"mount type 99":           mount(func(m *pb.Mount) { m.MountType = 99 }),
		"mount at ..":             mount(func(m *pb.Mount) { m.Dest = "../../m" }),
		"mount at /..":            mount(func(m *pb.Mount) { m.Dest = "/../m" }),
		"mount at nothing":        mount(func(m *pb.Mount) { m.Dest = "" }),
		"mount at NUL":            mount(func(m *pb.Mount) { m.Dest = "/a\x00b" }),
		"mount at a long path":    mount(func(m *pb.Mount) { m.Dest = "/" + strings.Repeat("a", 5000) }),
		"tmpfs negative":          mount(func(m *pb.Mount) { m.TmpfsOpt = &pb.TmpfsOpt{Size: -1} }),
		"cache sharing 9":         mount(func(m *pb.Mount) { m.MountType = pb.MountType_CACHE; m.CacheOpt = &pb.CacheOpt{ID: "x", Sharing: 9} }),
		"cache without options":   mount(func(m *pb.Mount) { m.MountType = pb.MountType_CACHE }),
		"secret without options":  mount(func(m *pb.Mount) { m.MountType = pb.MountType_SECRET }),
		"secret without id":       mount(func(m *pb.Mount) { m.MountType = pb.MountType_SECRET; m.SecretOpt = &pb.SecretOpt{} }),
		"secret mode": mount(func(m *pb.Mount) {
			m.MountType = pb.MountType_SECRET
			m.SecretOpt = &pb.SecretOpt{ID: "x", Mode: 1 << 30}
		}),
		"secret uid": mount(func(m *pb.Mount) {
			m.MountType = pb.MountType_SECRET
			m.SecretOpt = &pb.SecretOpt{ID: "x", Uid: math.MaxUint32}
		}),
		"ssh without options": mount(func(m *pb.Mount) { m.MountType = pb.MountType_SSH }),
		"rm ..":               rm(".."),
		"rm /..":              rm("/.."),
		"rm a/../..":          rm("a/../.."),
		"rm nothing":          rm(""),
		"rm /":                rm("/"),
		"action of no kind":   action(func(*pb.FileAction) {}),
		"action input 9": action(func(a *pb.FileAction) {
			a.Input = 9
			a.Action = &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}
		}),
		"copy from nothing": action(func(a *pb.FileAction) {
			a.SecondaryInput = -3
			a.Action = &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/", Dest: "/x"}}
		}),
		"copy from itself": action(func(a *pb.FileAction) {
			a.SecondaryInput = 1
			a.Action = &pb.FileAction_Copy{Copy: &pb.FileActionCopy{Src: "/", Dest: "/x"}}
		}),
		"action output far": action(func(a *pb.FileAction) {
			a.Output = 1 << 40
			a.Action = &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}
		}),
		"no output": action(func(a *pb.FileAction) {
			a.Output = -1
			a.Action = &pb.FileAction_Mkdir{Mkdir: &pb.FileActionMkDir{Path: "/d"}}
		}),
		"owner of input 9": mkfile(func(f *pb.FileActionMkFile) {
			f.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "a", Input: 9}}}}
		}),
		"owner of input -9": mkfile(func(f *pb.FileActionMkFile) {
			f.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "a", Input: -9}}}}
		}),
		"owner nobody has": mkfile(func(f *pb.FileActionMkFile) {
			f.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByName{ByName: &pb.NamedUserOpt{Name: "n\x00"}}}}
		}),
		"owner max": mkfile(func(f *pb.FileActionMkFile) {
			f.Owner = &pb.ChownOpt{User: &pb.UserOpt{User: &pb.UserOpt_ByID{ByID: math.MaxUint32}}}
		}),
		"mode":                  mkfile(func(f *pb.FileActionMkFile) { f.Mode = math.MinInt32 }),
		"file NUL":              mkfile(func(f *pb.FileActionMkFile) { f.Path = "/a\x00" }),
		"diff of nothing":       single(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{}}}),
		"diff input 9":          single(&pb.Op{Op: &pb.Op_Diff{Diff: &pb.DiffOp{Lower: &pb.LowerDiffInput{Input: 9}, Upper: &pb.UpperDiffInput{Input: 0}}}}),
		"merge of nothing":      single(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{}}}),
		"merge input -7":        single(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: -7}}}}}),
		"build":                 single(&pb.Op{Op: &pb.Op_Build{Build: &pb.BuildOp{Builder: 9}}}),
		"passthrough output":    single(&pb.Op{Op: &pb.Op_Passthrough{Passthrough: &pb.PassthroughOp{Outputs: []int64{9}}}}),
		"source without scheme": source("alpine", nil),
		"source unknown":        source("gopher://x", nil),
		"source empty":          source("", nil),
		"source file":           source("file:///etc/passwd", nil),
		"image path":            source("docker-image://../../etc", nil),
		"image checksum":        source("docker-image://"+base, map[string]string{"image.checksum": "x"}),
		"image layer limit":     source("docker-image://"+base, map[string]string{"image.layerlimit": "-1"}),
		"local without session": source("local://x", nil),
		"local pattern":         source("local://x", map[string]string{"local.includepattern": "{"}),
		"git option":            source("git://--upload-pack=touch", nil),
		"git ext":               source("git://x/y", map[string]string{"git.fullurl": "ext::sh -c date"}),
		"git file":              source("git://x/y", map[string]string{"git.fullurl": "file:///etc"}),
		"git ref":               source("git://x/y#--output=/tmp/x", nil),
		"git subdir":            source("git://x/y#main:../../..", nil),
		"http file name":        source("http://127.0.0.1:1/x", map[string]string{"http.filename": "../x"}),
		"http checksum":         source("http://127.0.0.1:1/x", map[string]string{"http.checksum": "sha256:zz"}),
		"layout without store":  source("oci-layout://x@"+unknown, nil),
		"blob without digest":   source("docker-image+blob://x", nil),
	}
	for name, def := range table {
		refused(name, func(ctx context.Context) error { return solve(ctx, &controlapi.SolveRequest{Definition: def}) })
	}
	fmt.Println(len(table) > 80)
	// What is large, but no mistake, ends one way or the other.
	deep := define(func(g *graph) *pb.Input {
		in := &pb.Input{Digest: g.add(&pb.Op{Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: -1}}}}})}
		for range 20000 {
			in = &pb.Input{Digest: g.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Merge{Merge: &pb.MergeOp{Inputs: []*pb.MergeInput{{Input: 0}}}}})}
		}
		return in
	})
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := solve(ctx, &controlapi.SolveRequest{Definition: deep}); status.Code(err) == codes.Unavailable {
		fmt.Println("deep:", err)
	}
	metadata := exec(func(*pb.ExecOp) {})
	metadata.Metadata = map[string]*pb.OpMetadata{"nonsense": nil, unknown: {Description: map[string]string{"a": strings.Repeat("x", 1<<20)}}}
	metadata.Source = &pb.Source{Locations: map[string]*pb.Locations{unknown: {Locations: []*pb.Location{{SourceIndex: 99}}}}}
	if err := solve(ctx, &controlapi.SolveRequest{Definition: metadata}); status.Code(err) == codes.Unavailable {
		fmt.Println("metadata:", err)
	}
}

func requests() {
	good := exec(func(*pb.ExecOp) {})
	solves := map[string]*controlapi.SolveRequest{
		"session that is not there": {Definition: good, Session: "../../x"},
		"unknown frontend":          {Frontend: "nothing.v0"},
		"unknown entitlement":       {Definition: good, Entitlements: []string{"all"}},
		"entitlement not granted":   {Definition: good, Entitlements: []string{"security.insecure"}},
		"unknown exporter":          {Definition: good, Exporters: []*controlapi.Exporter{{Type: "../x"}}},
		"exporter attribute":        {Definition: good, Exporters: []*controlapi.Exporter{{Type: "image", Attrs: map[string]string{"push": "perhaps"}}}},
		"image name":                {Definition: good, Exporters: []*controlapi.Exporter{{Type: "image", Attrs: map[string]string{"name": "../../x", "push": "true"}}}},
		"local without session":     {Definition: good, Exporters: []*controlapi.Exporter{{Type: "local"}}},
		"frontend input":            {Frontend: "dockerfile.v0", FrontendInputs: map[string]*pb.Definition{"context": {Def: [][]byte{[]byte("x")}}}},
		"platform":                  {Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"platform": "///"}},
		"Dockerfile elsewhere":      {Frontend: "dockerfile.v0", FrontendAttrs: map[string]string{"filename": "../../../etc/passwd"}},
	}
	for name, req := range solves {
		refused(name, func(ctx context.Context) error { return solve(ctx, req) })
	}
	refused("solve without ref", func(ctx context.Context) error {
		_, err := control.Solve(ctx, &controlapi.SolveRequest{Definition: good})
		return err
	})
	refused("status of nothing", func(ctx context.Context) error {
		stream, err := control.Status(ctx, &controlapi.StatusRequest{Ref: "../x"})
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	})
	for _, filter := range []string{"((", "type~=(", "\x00"} {
		refused("du filter "+filter, func(ctx context.Context) error {
			_, err := control.DiskUsage(ctx, &controlapi.DiskUsageRequest{Filter: []string{filter}})
			return err
		})
		refused("prune filter "+filter, func(ctx context.Context) error {
			stream, err := control.Prune(ctx, &controlapi.PruneRequest{Filter: []string{filter}})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		})
	}
	refused("record that is not there", func(ctx context.Context) error {
		_, err := control.UpdateBuildHistory(ctx, &controlapi.UpdateBuildHistoryRequest{Ref: "../../etc/passwd", Delete: true})
		return err
	})
	content := contentapi.NewContentClient(conn)
	for _, name := range []string{"../../../../etc/passwd", "sha256:..", "", string(digest.FromString("x"))} {
		refused("blob "+name, func(ctx context.Context) error {
			stream, err := content.Read(ctx, &contentapi.ReadContentRequest{Digest: name, Offset: -1})
			if err == nil {
				_, err = stream.Recv()
			}
			return err
		})
	}
	refused("write of a blob", func(ctx context.Context) error {
		stream, err := content.Write(ctx)
		if err == nil {
			err = stream.Send(&contentapi.WriteContentRequest{Action: contentapi.WriteAction_COMMIT, Ref: "x", Data: []byte("x")})
		}
		if err == nil || errors.Is(err, io.EOF) {
			_, err = stream.Recv()
		}
		return err
	})
	refused("session without headers", func(ctx context.Context) error {
		stream, err := control.Session(ctx)
		if err == nil {
			_, err = stream.Recv()
		}
		return err
	})
	refused("message that is too large", func(ctx context.Context) error {
		big := &pb.Definition{Def: [][]byte{make([]byte, 200<<20)}}
		_, err := control.Solve(ctx, &controlapi.SolveRequest{Ref: "big", Definition: big}, grpc.MaxCallSendMsgSize(1<<30))
		return err
	})
}

// gateway runs a build's frontend badly.
func gateway() {
	id := identity.NewID()
	ended := make(chan error, 1)
	go func() {
		ended <- solve(context.Background(), &controlapi.SolveRequest{Ref: id})
	}()
	bridge := gatewayapi.NewLLBBridgeClient(conn)
	refused("no build", func(ctx context.Context) error {
		_, err := bridge.Ping(ctx, &gatewayapi.PingRequest{})
		return err
	})
	with := func(ctx context.Context) context.Context {
		return metadata.AppendToOutgoingContext(ctx, "buildkit-controlapi-buildid", id)
	}
	ask := func(name string, call func(ctx context.Context) error) {
		refused(name, func(ctx context.Context) error { return call(with(ctx)) })
	}
	_, err := bridge.Ping(with(context.Background()), &gatewayapi.PingRequest{})
	check(err)
	res, err := bridge.Solve(with(context.Background()), &gatewayapi.SolveRequest{Definition: exec(func(*pb.ExecOp) {}), AllowResultReturn: true, AllowResultArrayRef: true})
	check(err)
	ref := res.Result.GetRef().GetId()
	for _, path := range []string{"../../../../../../etc/hostname-of-the-host", "/proc/1/environ", "/dev/zero", "/bin", "\x00", ""} {
		ask("read "+path, func(ctx context.Context) error {
			_, err := bridge.ReadFile(ctx, &gatewayapi.ReadFileRequest{Ref: ref, FilePath: path})
			return err
		})
	}
	for _, r := range []*gatewayapi.FileRange{{Offset: -1}, {Length: -1}, {Offset: math.MinInt64, Length: math.MaxInt64}} {
		ask(fmt.Sprint("range ", r), func(ctx context.Context) error {
			_, err := bridge.ReadFile(ctx, &gatewayapi.ReadFileRequest{Ref: ref, FilePath: "/bin/sh", Range: r})
			return err
		})
	}
	for _, name := range []string{"", "none", "../x"} {
		ask("ref "+name, func(ctx context.Context) error {
			_, err := bridge.StatFile(ctx, &gatewayapi.StatFileRequest{Ref: name, Path: "/"})
			return err
		})
		ask("container "+name, func(ctx context.Context) error {
			_, err := bridge.ReleaseContainer(ctx, &gatewayapi.ReleaseContainerRequest{ContainerID: name})
			return err
		})
		ask("file of container "+name, func(ctx context.Context) error {
			_, err := bridge.ReadFileContainer(ctx, &gatewayapi.ReadFileRequest{Ref: name, FilePath: "/x", MountIndex: -1})
			return err
		})
	}
	ask("container without id", func(ctx context.Context) error {
		_, err := bridge.NewContainer(ctx, &gatewayapi.NewContainerRequest{Mounts: []*pb.Mount{{Dest: "/", ResultID: ref}}})
		return err
	})
	ask("container without root", func(ctx context.Context) error {
		_, err := bridge.NewContainer(ctx, &gatewayapi.NewContainerRequest{ContainerID: "../../x"})
		return err
	})
	for name, messages := range map[string][]*gatewayapi.ExecMessage{
		"process without id": {{Input: &gatewayapi.ExecMessage_Init{Init: &gatewayapi.InitMessage{}}}},
		"file of nothing":    {{ProcessID: "x", Input: &gatewayapi.ExecMessage_File{File: &gatewayapi.FdMessage{Fd: 77}}}, {}},
		"signal of nothing":  {{ProcessID: "x", Input: &gatewayapi.ExecMessage_Signal{Signal: &gatewayapi.SignalMessage{Name: "KILL"}}}},
		"only ours":          {{ProcessID: "x", Input: &gatewayapi.ExecMessage_Done{Done: &gatewayapi.DoneMessage{}}}},
	} {
		ask(name, func(ctx context.Context) error {
			stream, err := bridge.ExecProcess(ctx)
			for _, message := range messages {
				if err == nil {
					err = stream.Send(message)
				}
			}
			if err == nil || errors.Is(err, io.EOF) {
				_, err = stream.Recv()
			}
			return err
		})
	}
	for name, req := range map[string]*gatewayapi.ResolveSourceMetaRequest{
		"no source":      {},
		"unknown source": {Source: &pb.SourceOp{Identifier: "x://y"}},
	} {
		ask(name, func(ctx context.Context) error {
			_, err := bridge.ResolveSourceMeta(ctx, req)
			return err
		})
	}
	for _, name := range []string{"", "../x", "a b", strings.Repeat("a", 1<<16)} {
		ask("image config", func(ctx context.Context) error {
			_, err := bridge.ResolveImageConfig(ctx, &gatewayapi.ResolveImageConfigRequest{Ref: name})
			return err
		})
	}
	ask("frontend of a frontend", func(ctx context.Context) error {
		_, err := bridge.Solve(ctx, &gatewayapi.SolveRequest{Frontend: "../x"})
		return err
	})
	_, err = bridge.Warn(with(context.Background()), &gatewayapi.WarnRequest{Digest: "../x", Level: math.MinInt64, Short: []byte("\x1b[2J"), Ranges: []*pb.Range{{}}})
	check(err)
	ask("return of what is not there", func(ctx context.Context) error {
		_, err := bridge.Return(ctx, &gatewayapi.ReturnRequest{Result: &gatewayapi.Result{Result: &gatewayapi.Result_Ref{Ref: &gatewayapi.Ref{Id: "none"}}}})
		return err
	})
	_, err = bridge.Return(with(context.Background()), &gatewayapi.ReturnRequest{Result: &gatewayapi.Result{Metadata: map[string][]byte{"refs.platforms": []byte("null")}}})
	check(err)
	<-ended
	ask("return again", func(ctx context.Context) error {
		_, err := bridge.Return(ctx, &gatewayapi.ReturnRequest{})
		return err
	})
}

// connections does not speak the protocol, or stops in the middle of it.
func connections() {
	preface := "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
	open := []net.Conn{}
	for _, text := range []string{
		"", "garbage\n", "GET / HTTP/1.1\r\nHost: x\r\n\r\n", strings.Repeat("\x00", 1<<16), preface, preface[:10],
		preface + "\xff\xff\xff\x04\x00\x00\x00\x00\x00", preface + "\x00\x00\x00\x04\x00\x00\x00\x00\x00" + strings.Repeat("\x00\x00\x08\x06\x00\x00\x00\x00\x00........", 100),
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
	} {
		c, err := net.Dial("unix", address)
		check(err)
		// The daemon may close it before all is said.
		_, _ = io.WriteString(c, text)
		open = append(open, c)
	}
	// Sessions that say nothing, and one that says nonsense.
	for _, say := range []string{"", "nonsense", preface} {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-docker-expose-session-uuid", identity.NewID())
		stream, err := control.Session(ctx)
		check(err)
		check(stream.Send(&controlapi.BytesMessage{Data: []byte(say)}))
	}
	// Readers that do not read.
	for range 8 {
		id := identity.NewID()
		_, err := control.Status(context.Background(), &controlapi.StatusRequest{Ref: id})
		check(err)
		go solve(context.Background(), &controlapi.SolveRequest{Ref: id, Definition: exec(func(op *pb.ExecOp) {
			op.Meta.Args = []string{"sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo " + strings.Repeat("x", 500) + "; i=$((i+1)); done"}
			op.Meta.Env = []string{"A=" + id}
		})})
	}
	// Others build meanwhile.
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	check(solve(ctx, &controlapi.SolveRequest{Definition: exec(func(*pb.ExecOp) {})}))
	for _, c := range open {
		c.Close()
	}
}

// unused is sessions that end before anybody has a use for them, as buildx makes some: a client that closes one takes what is on its way
// to it for a broken connection, so nothing may be.
func unused() {
	heard := 0
	for range 50 {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "x-docker-expose-session-uuid", identity.NewID())
		stream, err := control.Session(ctx)
		check(err)
		check(stream.CloseSend())
		for {
			message, err := stream.Recv()
			if err != nil {
				// However the stream ends, it has ended.
				break
			}
			heard += len(message.Data)
		}
	}
	if heard > 0 {
		fmt.Println("unused sessions were sent", heard, "bytes")
	}
}

// crowd is 64 clients at once, that build one step that all share and one that each has alone.
func crowd() {
	const clients = 64
	shared := func(g *graph) *pb.Input {
		in := image(g)
		op := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"sh", "-c", "cat /proc/sys/kernel/random/uuid > /id"}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}
		return &pb.Input{Digest: g.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Exec{Exec: op}})}
	}
	ids := make(chan string, clients)
	for number := range clients {
		go func() {
			c, err := client.New(context.Background(), os.Getenv("BUILDKIT_HOST"))
			check(err)
			defer c.Close()
			_, err = c.Build(context.Background(), client.SolveOpt{}, "crowd", func(ctx context.Context, gw gwclient.Client) (*gwclient.Result, error) {
				def := define(func(g *graph) *pb.Input {
					in := shared(g)
					op := &pb.ExecOp{Meta: &pb.Meta{Args: []string{"sh", "-c", fmt.Sprint("echo ", number, " > /own")}, Cwd: "/"}, Mounts: []*pb.Mount{{Dest: "/"}}}
					return &pb.Input{Digest: g.add(&pb.Op{Inputs: []*pb.Input{in}, Op: &pb.Op_Exec{Exec: op}})}
				})
				res, err := gw.Solve(ctx, gwclient.SolveRequest{Definition: def})
				check(err)
				ref, err := res.SingleRef()
				check(err)
				own, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "/own"})
				check(err)
				id, err := ref.ReadFile(ctx, gwclient.ReadRequest{Filename: "/id"})
				check(err)
				if string(own) != fmt.Sprintln(number) {
					log.Fatalf("client %d got %q", number, own)
				}
				ids <- string(id)
				return gwclient.NewResult(), nil
			}, nil)
			check(err)
		}()
	}
	seen := map[string]bool{}
	for range clients {
		seen[<-ids] = true
	}
	fmt.Println("the shared step ran", len(seen), "time")
}

// row is builds one after the other (150, or as many as the third argument says), after which the daemon holds what it held before.
func row() {
	count := 150
	if len(os.Args) > 3 {
		_, err := fmt.Sscan(os.Args[3], &count)
		check(err)
	}
	build := func(number int) {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		def := mkfile(func(f *pb.FileActionMkFile) { f.Data = fmt.Append(nil, number) })
		if number%10 == 0 {
			def = exec(func(op *pb.ExecOp) { op.Meta.Env = []string{fmt.Sprint("N=", number)} })
		}
		check(solve(ctx, &controlapi.SolveRequest{Definition: def}))
	}
	for number := range 30 {
		build(-number)
	}
	before := held()
	before.disk = emptied()
	for number := range count {
		build(number + 1)
	}
	after := held()
	after.disk = emptied()
	// What a build used is let go when its last task has noticed that it ended.
	for deadline := time.Now().Add(limit); after.grew(before) && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
		after = held()
		after.disk = emptied()
	}
	if after.grew(before) {
		fmt.Printf("before %+v, after %+v\n", before, after)
	}
}

// holding is what a process holds: kilobytes of memory, and of the disk when all is deleted that may be.
type holding struct{ files, mounts, kilobytes, disk int }

func (h holding) grew(before holding) bool {
	const files, kilobytes, disk = 16, 64 << 10, 4 << 10
	return h.files > before.files+files || h.mounts > before.mounts || h.kilobytes > before.kilobytes+kilobytes ||
		h.disk > before.disk+disk
}

// emptied deletes all that was built, and measures in kilobytes what that leaves in the daemon's directory, which is beside its socket.
func emptied() int {
	c, err := client.New(context.Background(), "unix://"+address)
	check(err)
	defer c.Close()
	check(c.Prune(context.Background(), nil, client.PruneAll))
	blocks := int64(0)
	check(filepath.WalkDir(filepath.Join(filepath.Dir(address), "root"), func(path string, entry fs.DirEntry, err error) error {
		// What is deleted meanwhile takes no space.
		if info, failed := os.Lstat(path); err == nil && failed == nil {
			blocks += info.Sys().(*syscall.Stat_t).Blocks
		} else if !errors.Is(errors.Join(err, failed), fs.ErrNotExist) {
			return errors.Join(err, failed)
		}
		return nil
	}))
	return int(blocks / 2)
}

// held looks at the daemon.
func held() holding {
	c, err := net.Dial("unix", address)
	check(err)
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	check(err)
	var h holding
	check(raw.Control(func(fd uintptr) {
		peer, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
		check(err)
		proc := fmt.Sprintf("/proc/%d/", peer.Pid)
		files, err := os.ReadDir(proc + "fd")
		check(err)
		mounts, err := os.ReadFile(proc + "mountinfo")
		check(err)
		status, err := os.ReadFile(proc + "status")
		check(err)
		_, rss, _ := strings.Cut(string(status), "VmRSS:")
		_, err = fmt.Sscan(rss, &h.kilobytes)
		check(err)
		h.files, h.mounts = len(files), strings.Count(string(mounts), "\n")
	}))
	return h
}

// tree is a client's directory that lies.
type tree struct{ packets []*fstypes.Packet }

func (t *tree) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, t) }

func (t *tree) TarStream(filesync.FileSync_TarStreamServer) error { return errors.New("no tars") }

func (t *tree) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	for _, packet := range t.packets {
		if err := stream.Send(packet); err != nil {
			return err
		}
	}
	if err := stream.Send(&fstypes.Packet{Type: fstypes.PACKET_STAT}); err != nil {
		return err
	}
	for {
		packet, err := stream.Recv()
		if err != nil || packet.Type == fstypes.PACKET_FIN {
			return err
		}
		if packet.Type == fstypes.PACKET_REQ {
			for _, data := range [][]byte{[]byte("more than was said"), nil} {
				if err := stream.Send(&fstypes.Packet{Type: fstypes.PACKET_DATA, ID: packet.ID, Data: data}); err != nil {
					return err
				}
			}
		}
	}
}

func files() {
	outside, err := os.MkdirTemp("", "hostile-")
	check(err)
	defer os.RemoveAll(outside)
	const dir, link = uint32(os.ModeDir | 0o755), uint32(os.ModeSymlink | 0o777)
	stats := func(list ...*fstypes.Stat) []*fstypes.Packet {
		var packets []*fstypes.Packet
		for _, s := range list {
			packets = append(packets, &fstypes.Packet{Type: fstypes.PACKET_STAT, Stat: s})
		}
		return packets
	}
	file := func(path string) *fstypes.Stat { return &fstypes.Stat{Path: path, Mode: 0o644, Size: 18} }
	table := map[string][]*fstypes.Packet{
		"climbs":              stats(file("../" + filepath.Base(outside) + "/x")),
		"climbs far":          stats(file("../../../../../../.." + outside + "/x")),
		"absolute":            stats(file(outside + "/x")),
		"dots inside":         stats(&fstypes.Stat{Path: "a", Mode: dir}, file("a/../../x")),
		"out of order":        stats(file("b"), file("a")),
		"twice":               stats(file("a"), file("a")),
		"no parent":           stats(file("a/b")),
		"through a link":      stats(&fstypes.Stat{Path: "a", Mode: link, Linkname: outside}, file("a/x")),
		"hard link outside":   stats(&fstypes.Stat{Path: "a", Mode: 0o644, Linkname: outside + "/y"}),
		"hard link climbs":    stats(&fstypes.Stat{Path: "a", Mode: 0o644, Linkname: "../../y"}),
		"hard link to later":  stats(&fstypes.Stat{Path: "a", Mode: 0o644, Linkname: "b"}, file("b")),
		"empty name":          stats(file("")),
		"NUL":                 stats(file("a\x00b")),
		"size negative":       stats(&fstypes.Stat{Path: "a", Mode: 0o644, Size: -1}),
		"data nobody wanted":  {{Type: fstypes.PACKET_DATA, ID: 77, Data: []byte("x")}},
		"request of a client": {{Type: fstypes.PACKET_REQ, ID: 1}},
		"unknown packet":      {{Type: 99}},
		"error":               {{Type: fstypes.PACKET_ERR, Data: []byte("\x1b[2J no")}},
	}
	c, err := client.New(context.Background(), os.Getenv("BUILDKIT_HOST"))
	check(err)
	for name, packets := range table {
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		s, err := session.NewSession(ctx, name)
		check(err)
		s.Allow(&tree{packets})
		go s.Run(ctx, c.Dialer())
		refused(name, func(ctx context.Context) error {
			return solve(ctx, &controlapi.SolveRequest{Session: s.ID(), Definition: source("local://context", map[string]string{"local.sharedkeyhint": name})})
		})
		s.Close()
		cancel()
	}
	left, err := os.ReadDir(outside)
	check(err)
	fmt.Println(len(left), "files outside")
}
