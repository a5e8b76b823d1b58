// gwrun runs processes in containers of a daemon, by BuildKit's gateway library, and says what came of it.
//
//	gwrun NAME BASE-IMAGE
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"syscall"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"
)

type scene func(ctx context.Context, gw gateway.Client, base gateway.Reference, image llb.State) error

var scenes = map[string]scene{
	"exec": exec, "tty": tty, "signal": signal, "mounts": mounts, "files": files,
	"failed": failed, "refused": refused, "left": left,
}

func main() {
	ctx := context.Background()
	c, err := client.New(ctx, os.Getenv("BUILDKIT_HOST"))
	check(err)
	secrets := secretsprovider.FromMap(map[string][]byte{"token": []byte("s3cret")})
	opt := client.SolveOpt{Session: []session.Attachable{secrets}}
	_, err = c.Build(ctx, opt, "gwrun", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		image := llb.Image(os.Args[2])
		base, err := solve(ctx, gw, image, false)
		if err != nil {
			return nil, err
		}
		if err := scenes[os.Args[1]](ctx, gw, base, image); err != nil {
			return nil, err
		}
		return gateway.NewResult(), nil
	}, nil)
	check(err)
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func solve(ctx context.Context, gw gateway.Client, state llb.State, evaluate bool) (gateway.Reference, error) {
	def, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	res, err := gw.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: evaluate})
	if err != nil {
		return nil, err
	}
	return res.SingleRef()
}

func root(ref gateway.Reference) gateway.Mount {
	return gateway.Mount{Dest: "/", MountType: pb.MountType_BIND, Ref: ref}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// run runs a process to its end and prints how it ended and what it wrote.
func run(ctx context.Context, ctr gateway.Container, req gateway.StartRequest) {
	var out, errOut bytes.Buffer
	req.Stdout, req.Stderr = nopCloser{&out}, nopCloser{&errOut}
	req.Cwd = "/"
	code := "0"
	proc, err := ctr.Start(ctx, req)
	if err == nil {
		err = proc.Wait()
	}
	var exit *gatewaypb.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode != gatewaypb.UnknownExitStatus:
		code = fmt.Sprint(exit.ExitCode)
	case err != nil:
		code = err.Error()
	}
	fmt.Printf("exit %s out %q err %q\n", code, out.String(), errOut.String())
}

func sh(script string) gateway.StartRequest {
	return gateway.StartRequest{Args: []string{"sh", "-c", script}}
}

// exec: streams, exit codes, variables, secrets, hosts, several processes in one container.
func exec(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts:     []gateway.Mount{root(base)},
		Hostname:   "inside",
		ExtraHosts: []*pb.HostIP{{Host: "some.where", IP: "10.0.0.7"}},
	})
	if err != nil {
		return err
	}
	// The container's own process ends when its input does.
	stdin, closeStdin := io.Pipe()
	first, err := ctr.Start(ctx, gateway.StartRequest{Args: []string{"cat"}, Cwd: "/", Stdin: stdin, Stdout: nopCloser{os.Stdout}})
	if err != nil {
		return err
	}
	run(ctx, ctr, sh("echo out; echo err >&2; echo left > /left; exit 3"))
	run(ctx, ctr, sh("cat /left; hostname; grep some.where /etc/hosts | tr '\\t' ' '"))
	with := sh("echo $A $TOKEN; id -u")
	with.Env, with.User = []string{"A=b"}, "1000"
	with.SecretEnv = []*pb.SecretEnv{{ID: "token", Name: "TOKEN"}}
	run(ctx, ctr, with)
	in := sh("tr a-z A-Z; exit 0")
	in.Stdin = io.NopCloser(strings.NewReader(strings.Repeat("shout ", 100000)))
	var out bytes.Buffer
	in.Stdout, in.Cwd = nopCloser{&out}, "/"
	loud, err := ctr.Start(ctx, in)
	if err != nil {
		return err
	}
	fmt.Println(loud.Wait(), out.Len(), strings.HasSuffix(out.String(), "SHOUT "))
	fmt.Fprintln(closeStdin, "last words")
	closeStdin.Close()
	fmt.Println(first.Wait())
	run(ctx, ctr, sh("true"))
	return ctr.Release(ctx)
}

// tty: a terminal with a size.
func tty(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}})
	if err != nil {
		return err
	}
	defer ctr.Release(ctx)
	stdin, input := io.Pipe()
	output, stdout := io.Pipe()
	proc, err := ctr.Start(ctx, gateway.StartRequest{
		Args: []string{"sh"}, Env: []string{"PS1=", "TERM=dumb"}, Cwd: "/", Tty: true, Stdin: stdin, Stdout: stdout,
	})
	if err != nil {
		return err
	}
	if err := proc.Resize(ctx, gateway.WinSize{Rows: 33, Cols: 77}); err != nil {
		return err
	}
	go func() {
		// The size may come after the first question.
		fmt.Fprint(input, "until test \"$(stty size)\" = '33 77'; do :; done; tty; exit 5\n")
	}()
	done := make(chan string)
	go func() {
		all, _ := io.ReadAll(output)
		done <- string(all)
	}()
	err = proc.Wait()
	stdout.Close()
	var exit *gatewaypb.ExitError
	fmt.Println(errors.As(err, &exit) && exit.ExitCode == 5, strings.Contains(<-done, "/dev/pts/"))
	return nil
}

// signal: one that the process handles, and a container that is released under its process.
func signal(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}})
	if err != nil {
		return err
	}
	output, stdout := io.Pipe()
	proc, err := ctr.Start(ctx, gateway.StartRequest{
		Args: []string{"sh", "-c", "trap 'exit 7' USR1; echo ready; while :; do sleep 0.05; done"}, Cwd: "/", Stdout: stdout,
	})
	if err != nil {
		return err
	}
	ready := make([]byte, 6)
	if _, err := io.ReadFull(output, ready); err != nil {
		return err
	}
	if err := proc.Signal(ctx, syscall.SIGUSR1); err != nil {
		return err
	}
	fmt.Println(proc.Wait())
	if err := ctr.Release(ctx); err != nil {
		return err
	}
	ctr, err = gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}})
	if err != nil {
		return err
	}
	proc, err = ctr.Start(ctx, gateway.StartRequest{Args: []string{"sh", "-c", "echo ready; sleep 86399"}, Cwd: "/", Stdout: stdout})
	if err != nil {
		return err
	}
	if _, err := io.ReadFull(output, ready); err != nil {
		return err
	}
	if err := ctr.Release(ctx); err != nil {
		return err
	}
	fmt.Println(proc.Wait() != nil)
	return nil
}

// mounts: every kind, and a network of its own.
func mounts(ctx context.Context, gw gateway.Client, base gateway.Reference, image llb.State) error {
	dir, err := solve(ctx, gw, llb.Scratch().File(llb.Mkdir("/d", 0o755)).File(llb.Mkfile("/d/f", 0o644, []byte("data"))), false)
	if err != nil {
		return err
	}
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{
		NetMode: pb.NetMode_NONE,
		Mounts: []gateway.Mount{
			root(base),
			{Dest: "/ro", MountType: pb.MountType_BIND, Ref: dir, Readonly: true, Selector: "/d"},
			{Dest: "/rw", MountType: pb.MountType_BIND, Ref: dir},
			{Dest: "/tmpfs", MountType: pb.MountType_TMPFS},
			{Dest: "/cache", MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: "gwrun", Sharing: pb.CacheSharingOpt_SHARED}},
			{Dest: "/secret", MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "token", Mode: 0o400}},
		},
	})
	if err != nil {
		return err
	}
	defer ctr.Release(ctx)
	run(ctx, ctr, sh(`cat /ro/f /secret; echo; touch /ro/x 2>/dev/null || echo ro; echo w > /rw/x; echo c >> /cache/x
		grep -c ' /tmpfs tmpfs' /proc/mounts; ls /sys/class/net`))
	return nil
}

// files: what is read of a container's mounts.
func files(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{
		Mounts: []gateway.Mount{root(base), {Dest: "/t", MountType: pb.MountType_TMPFS}},
	})
	if err != nil {
		return err
	}
	defer ctr.Release(ctx)
	run(ctx, ctr, sh("mkdir /d; echo content > /d/f; ln -s /etc/../../../../d/f /link; ln -s /proc/self/root/etc/shadow /d/out"))
	read := func(mount int, path string) {
		data, err := ctr.ReadFile(ctx, gateway.ReadContainerRequest{ReadRequest: gateway.ReadRequest{Filename: path}, MountIndex: mount})
		fmt.Printf("%s %q %v\n", path, data, err != nil)
	}
	read(0, "/d/f")
	read(0, "/link")
	read(0, "/d/out")
	read(0, "/none")
	read(1, "/x")
	read(7, "/x")
	entries, err := ctr.ReadDir(ctx, gateway.ReadDirContainerRequest{ReadDirRequest: gateway.ReadDirRequest{Path: "/d"}})
	if err != nil {
		return err
	}
	for _, entry := range entries {
		fmt.Println(entry.Path, entry.Size)
	}
	stat, err := ctr.StatFile(ctx, gateway.StatContainerRequest{StatRequest: gateway.StatRequest{Path: "/d/f"}})
	fmt.Println(stat.GetSize(), err)
	return nil
}

// failed: the step that failed is opened by the ids in the error, with the files as it left them.
func failed(ctx context.Context, gw gateway.Client, base gateway.Reference, image llb.State) error {
	state := image.Run(llb.Args([]string{"sh", "-c", "echo half > /work; echo m > /mnt/x; exit 4"}), llb.AddEnv("NAME", "value"),
		llb.AddMount("/mnt", llb.Scratch().File(llb.Mkfile("/before", 0o644, []byte("b"))))).Root()
	_, err := solve(ctx, gw, state, true)
	var solveErr *errdefs.SolveError
	if !errors.As(err, &solveErr) {
		return fmt.Errorf("no SolveError: %w", err)
	}
	exec := solveErr.Op.GetExec()
	fmt.Println(exec.Meta.Args[0], exec.Meta.Env, len(solveErr.InputIDs), len(solveErr.MountIDs))
	var list []gateway.Mount
	for i, m := range exec.Mounts {
		list = append(list, gateway.Mount{Dest: m.Dest, MountType: m.MountType, ResultID: solveErr.MountIDs[i]})
	}
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: list})
	if err != nil {
		return err
	}
	defer ctr.Release(ctx)
	run(ctx, ctr, sh("cat /work /mnt/x /mnt/before"))
	return nil
}

// refused: what a client may not have.
func refused(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	container := func(req gateway.NewContainerRequest) {
		ctr, err := gw.NewContainer(ctx, req)
		fmt.Println("container", err != nil)
		if err == nil {
			ctr.Release(ctx)
		}
	}
	container(gateway.NewContainerRequest{})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}, NetMode: pb.NetMode_HOST})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}, NetMode: 9})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base), root(base)}})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{{Dest: "/", MountType: pb.MountType_BIND, ResultID: "none"}}})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base), {Dest: "/../..", MountType: pb.MountType_TMPFS}}})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base), {Dest: "/x", MountType: 99}}})
	container(gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}, Hostname: "a\x00b"})
	for _, mode := range []pb.SecurityMode{pb.SecurityMode_INSECURE, 2, -1} {
		ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}})
		if err != nil {
			return err
		}
		req := sh("echo in")
		req.SecurityMode, req.Cwd = mode, "/"
		proc, err := ctr.Start(ctx, req)
		if err == nil {
			err = proc.Wait()
		}
		fmt.Println("process", err != nil)
	}
	return nil
}

// left: a client that returns while its process runs.
func left(ctx context.Context, gw gateway.Client, base gateway.Reference, _ llb.State) error {
	ctr, err := gw.NewContainer(ctx, gateway.NewContainerRequest{Mounts: []gateway.Mount{root(base)}})
	if err != nil {
		return err
	}
	_, err = ctr.Start(ctx, gateway.StartRequest{Args: []string{"sleep", "86398"}, Cwd: "/"})
	return err
}
