package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	controlapi "github.com/moby/buildkit/api/services/control"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/solver/pb"
	fstypes "github.com/tonistiigi/fsutil/types"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
)

// marked is the value of attributes that must not arrive anywhere.
const marked = "hostile-value"

// transfers are clients whose files have what must not be set, or are of a kind that must not be made; and such as send too much, or
// nothing.
func transfers() {
	c, err := client.New(context.Background(), os.Getenv("BUILDKIT_HOST"))
	check(err)
	outside := filepath.Join(filepath.Dir(address), "outside")
	check(os.WriteFile(outside, nil, 0o644))
	attributes(c, outside)
	kinds(c)
	large(c)
	silent(c)
	check(filepath.WalkDir(filepath.Dir(address), func(path string, _ fs.DirEntry, err error) error {
		// What is deleted meanwhile has none.
		if err == nil {
			found(path)
		}
		return nil
	}))
}

// found prints the marked attributes of a file, but those that may be set.
func found(path string) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(path, names)
	if err != nil {
		return
	}
	for _, name := range strings.Split(strings.TrimRight(string(names[:n]), "\x00"), "\x00") {
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(path, name, value)
		if err == nil && strings.HasPrefix(string(value[:n]), marked) && !strings.HasPrefix(name, "user.fine") {
			fmt.Println(filepath.Base(path), "has", name)
		}
	}
}

// with runs a solve for a client that serves what `services` are.
func with(c *client.Client, name string, req *controlapi.SolveRequest, services ...session.Attachable) error {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	s, err := session.NewSession(ctx, name)
	check(err)
	defer s.Close()
	for _, service := range services {
		s.Allow(service)
	}
	go s.Run(ctx, c.Dialer())
	req.Session = s.ID()
	return solve(ctx, req)
}

func local(name string) *pb.Definition {
	return source("local://context", map[string]string{"local.sharedkeyhint": name})
}

// attributes come with a file, a directory and links; the file that a link leads to gets none.
func attributes(c *client.Client, outside string) {
	names := []string{
		"trusted.overlay.opaque", "trusted.overlay.whiteout", "trusted.overlay.redirect", "trusted.mine", "user.overlay.opaque",
		"security.selinux", "security.ima", "system.posix_acl_access", "system.posix_acl_default", "user.fine", "", "nonsense", "user.a\x00b",
		"user." + strings.Repeat("n", 300),
	}
	xattrs := map[string][]byte{"user.fine.large": []byte(marked + strings.Repeat("v", 100<<10))}
	for _, name := range names {
		xattrs[name] = []byte(marked)
	}
	var packets []*fstypes.Packet
	for _, stat := range []*fstypes.Stat{
		{Path: "dir", Mode: uint32(os.ModeDir | 0o755)},
		{Path: "dir/file", Mode: 0o644, Size: 18},
		{Path: "inside", Mode: uint32(os.ModeSymlink | 0o777), Linkname: "dir/file"},
		{Path: "link", Mode: uint32(os.ModeSymlink | 0o777), Linkname: outside},
	} {
		stat.Xattrs = xattrs
		packets = append(packets, &fstypes.Packet{Type: fstypes.PACKET_STAT, Stat: stat})
	}
	if err := with(c, "attributes", &controlapi.SolveRequest{Definition: local("attributes")}, &tree{packets}); err != nil {
		fmt.Println("attributes:", err)
	}
}

// kinds of files that are not made.
func kinds(c *client.Client) {
	for name, mode := range map[string]os.FileMode{
		"block device": os.ModeDevice, "character device": os.ModeDevice | os.ModeCharDevice, "socket": os.ModeSocket,
		"irregular": os.ModeIrregular, "link and directory": os.ModeSymlink | os.ModeDir,
	} {
		stat := &fstypes.Stat{Path: "x", Mode: uint32(mode | 0o666), Devmajor: 1, Devminor: 3, Linkname: ""}
		packets := []*fstypes.Packet{{Type: fstypes.PACKET_STAT, Stat: stat}}
		if with(c, name, &controlapi.SolveRequest{Definition: local(name)}, &tree{packets}) == nil {
			fmt.Println(name, "was taken")
		}
	}
}

// keeper has a secret of many bytes.
type keeper int

func (k keeper) Register(server *grpc.Server) { secrets.RegisterSecretsServer(server, k) }

func (k keeper) GetSecret(context.Context, *secrets.GetSecretRequest) (*secrets.GetSecretResponse, error) {
	return &secrets.GetSecretResponse{Data: make([]byte, k)}, nil
}

// large messages: a secret, and a packet.
func large(c *client.Client) {
	for _, size := range []int{1 << 20, 32 << 20} {
		def := exec(func(op *pb.ExecOp) {
			op.Mounts = append(op.Mounts, &pb.Mount{
				Input: -1, Dest: "/s", Output: -1, MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: fmt.Sprint(size), Mode: 0o400},
			})
		})
		if with(c, "secret", &controlapi.SolveRequest{Definition: def}, keeper(size)) == nil {
			fmt.Println("a secret of", size, "bytes was taken")
		}
	}
	packets := []*fstypes.Packet{{Type: fstypes.PACKET_STAT, Stat: &fstypes.Stat{Path: strings.Repeat("p", 32<<20)}}}
	if with(c, "packet", &controlapi.SolveRequest{Definition: local("packet")}, &tree{packets}) == nil {
		fmt.Println("a packet of 32 MB was taken")
	}
}

// dumb is a directory of which nothing comes.
type dumb struct{ asked chan struct{} }

func (d *dumb) Register(server *grpc.Server) { filesync.RegisterFileSyncServer(server, d) }

func (d *dumb) TarStream(filesync.FileSync_TarStreamServer) error { return nil }

func (d *dumb) DiffCopy(stream filesync.FileSync_DiffCopyServer) error {
	d.asked <- struct{}{}
	<-stream.Context().Done()
	return nil
}

// silent clients are waited for until they leave, or whoever asked does; and others build meanwhile.
func silent(c *client.Client) {
	d := &dumb{make(chan struct{}, 2)}
	ctx, cancel := context.WithCancel(context.Background())
	s, err := session.NewSession(ctx, "silent")
	check(err)
	s.Allow(d)
	go s.Run(ctx, c.Dialer())
	ended := make(chan error, 2)
	begin := func(ctx context.Context, name string) {
		go func() { ended <- solve(ctx, &controlapi.SolveRequest{Session: s.ID(), Definition: local(name)}) }()
		<-d.asked
	}
	asking, leave := context.WithCancel(ctx)
	begin(asking, "one")
	begin(ctx, "two")
	check(solve(ctx, &controlapi.SolveRequest{Definition: exec(func(*pb.ExecOp) {})}))
	leave()
	fmt.Println("who leaves is let go:", <-ended != nil)
	s.Close()
	fmt.Println("and so is who is left:", <-ended != nil)
	cancel()
}
