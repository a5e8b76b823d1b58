// gofront is a small frontend that runs in a container, by BuildKit's gateway library. The option `do` says what it does.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"sort"
	"strings"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/frontend/gateway/grpcclient"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/appcontext"
	// The application's context is then below the span that TRACEPARENT names.
	_ "github.com/moby/buildkit/util/tracing/childprocess"
	"github.com/pkg/errors"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

type scene func(ctx context.Context, c gateway.Client) (*gateway.Result, error)

var scenes = map[string]scene{
	"": tell, "error": fail, "inner": inner, "process": process, "hang": hang, "warn": warn, "two": two,
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "span" {
		span()
		return
	}
	// What is not gRPC goes to standard error.
	fmt.Fprintln(os.Stderr, "gofront begins")
	do := option("do")
	if do == "mess" {
		do = "hang"
		go fmt.Println("no gRPC at all, and it comes in the middle of it")
	}
	err := grpcclient.RunFromEnvironment(appcontext.Context(), gateway.BuildFunc(scenes[do]))
	if err != nil {
		fmt.Fprintln(os.Stderr, "gofront:", err)
		os.Exit(1)
	}
	if do == "two" {
		os.Exit(4)
	}
}

// span sends a span as the variables say, and nothing where they say nothing.
func span() {
	if os.Getenv("OTEL_TRACES_EXPORTER") != "otlp" {
		return
	}
	// By itself the library takes no sockets of the variable.
	socket := otlptracegrpc.WithEndpoint(os.Getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
	exporter, err := otlptracegrpc.New(context.Background(), socket, otlptracegrpc.WithInsecure())
	if err != nil {
		log.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	_, span := provider.Tracer("gofront").Start(appcontext.Context(), "within "+os.Args[2])
	span.End()
	if err := provider.Shutdown(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// option reads an option before there is a client.
func option(name string) string {
	for _, entry := range os.Environ() {
		key, value, _ := strings.Cut(entry, "=")
		if own, value, _ := strings.Cut(value, "="); strings.HasPrefix(key, "BUILDKIT_FRONTEND_OPT_") && own == name {
			return value
		}
	}
	return ""
}

func solve(ctx context.Context, c gateway.Client, state llb.State) (*gateway.Result, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return c.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB()})
}

func local(c gateway.Client, name string) llb.State {
	return llb.Local("dockerfile", llb.SessionID(c.BuildOpts().SessionID), llb.IncludePatterns([]string{name}))
}

// read reads a file beside the Dockerfile.
func read(ctx context.Context, c gateway.Client, name string) ([]byte, error) {
	res, err := solve(ctx, c, local(c, name))
	if err != nil {
		return nil, err
	}
	ref, err := res.SingleRef()
	if err != nil {
		return nil, err
	}
	return ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
}

// tell writes what a frontend sees into the image.
func tell(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	opts := c.BuildOpts()
	spec, err := read(ctx, c, "Dockerfile")
	if err != nil {
		return nil, err
	}
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	_, err = os.Stat("/run/config/buildkit/metadata/frontend.bin")
	lines := []string{
		fmt.Sprint("spec ", len(spec)),
		fmt.Sprint("session ", opts.SessionID != ""),
		fmt.Sprint("workers ", len(opts.Workers), " ", opts.Workers[0].Platforms[0].OS),
		fmt.Sprint("product ", opts.Product),
		fmt.Sprint("described ", err == nil),
		fmt.Sprint("home ", os.Getenv("FRONT_HOME")),
	}
	for _, one := range interfaces {
		if one.Flags&net.FlagLoopback == 0 {
			lines = append(lines, "a network")
			break
		}
	}
	var names []string
	for name := range opts.Opts {
		if !strings.HasPrefix(name, "build-arg:") && !strings.HasPrefix(name, "context") {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	lines = append(lines, "options "+strings.Join(names, " "))
	state := llb.Scratch().File(llb.Mkfile("/told", 0o644, []byte(strings.Join(lines, "\n")+"\n")))
	res, err := solve(ctx, c, state)
	if err != nil {
		return nil, err
	}
	config, err := json.Marshal(map[string]any{"os": "linux", "architecture": "amd64", "config": map[string]any{"Cmd": []string{"/told"}}})
	if err != nil {
		return nil, err
	}
	res.AddMeta("containerimage.config", config)
	return res, nil
}

// fail returns an error that points at a line of the Dockerfile.
func fail(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	spec, err := read(ctx, c, "Dockerfile")
	if err != nil {
		return nil, err
	}
	source := &errdefs.Source{
		Info:   &pb.SourceInfo{Filename: "Dockerfile", Data: spec},
		Ranges: []*pb.Range{{Start: &pb.Position{Line: 2}, End: &pb.Position{Line: 2}}},
	}
	return nil, errdefs.WithSource(errors.New("this line will not do"), source)
}

// inner calls the Dockerfile frontend.
func inner(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	opts := c.BuildOpts().Opts
	opts["filename"] = "inner.Dockerfile"
	return c.Solve(ctx, gateway.SolveRequest{Frontend: "dockerfile.v0", FrontendOpt: opts})
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// process runs a process over an image, and makes its output the result.
func process(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	base, err := solve(ctx, c, llb.Image(c.BuildOpts().Opts["build-arg:BASE"]))
	if err != nil {
		return nil, err
	}
	ref, err := base.SingleRef()
	if err != nil {
		return nil, err
	}
	ctr, err := c.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts: []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, Ref: ref}},
	})
	if err != nil {
		return nil, err
	}
	defer ctr.Release(ctx)
	var out strings.Builder
	req := gateway.StartRequest{Args: []string{"sh", "-c", "cat; echo said"}, Cwd: "/", Stdin: io.NopCloser(strings.NewReader("heard\n")), Stdout: nopCloser{&out}}
	running, err := ctr.Start(ctx, req)
	if err != nil {
		return nil, err
	}
	if err := running.Wait(); err != nil {
		return nil, err
	}
	return solve(ctx, c, llb.Scratch().File(llb.Mkfile("/said", 0o644, []byte(out.String()))))
}

// hang does nothing for ever.
func hang(context.Context, gateway.Client) (*gateway.Result, error) {
	select {}
}

// warn warns of a step.
func warn(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	if _, err := read(ctx, c, "Dockerfile"); err != nil {
		return nil, err
	}
	def, err := local(c, "Dockerfile").Marshal(ctx)
	if err != nil {
		return nil, err
	}
	step, err := def.Head()
	if err != nil {
		return nil, err
	}
	if err := c.Warn(ctx, step, "look at this", gateway.WarnOpts{Level: 1, Detail: [][]byte{[]byte("and that")}}); err != nil {
		return nil, err
	}
	return tell(ctx, c)
}

// two returns a result, and fails after it.
func two(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
	return tell(ctx, c)
}
