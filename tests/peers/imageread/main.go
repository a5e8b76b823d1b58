// imageread reads images from disk with go-containerregistry, which crane, ko and others are made of, checks every digest, size and
// media type in them, and prints what they are.
//
//	imageread docker FILE    a tar as `docker load` takes it
//	imageread oci DIRECTORY  an OCI layout
package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: imageread docker|oci PATH")
	}
	read := map[string]func(string) error{"docker": readDocker, "oci": readLayout}[os.Args[1]]
	if read == nil {
		log.Fatalf("imageread: %q is neither docker nor oci", os.Args[1])
	}
	if err := read(os.Args[2]); err != nil {
		log.Fatalf("imageread: %v", err)
	}
}

func readDocker(path string) error {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return err
	}
	if len(manifest) != 1 {
		return fmt.Errorf("%d images in %s", len(manifest), path)
	}
	fmt.Println("tags:", strings.Join(manifest[0].RepoTags, " "))
	image, err := tarball.Image(open, nil)
	if err != nil {
		return err
	}
	return show(image)
}

func readLayout(path string) error {
	index, err := layout.ImageIndexFromPath(path)
	if err != nil {
		return err
	}
	if err := validate.Index(index); err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, descriptor := range manifest.Manifests {
		if !descriptor.MediaType.IsImage() {
			fmt.Println("index:", descriptor.MediaType)
			continue
		}
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			return err
		}
		if err := show(image); err != nil {
			return err
		}
	}
	return nil
}

func show(image v1.Image) error {
	if err := validate.Image(image); err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	fmt.Println("platform:", config.Platform())
	fmt.Println("env:", config.Config.Env, "entrypoint:", config.Config.Entrypoint, "cmd:", config.Config.Cmd)
	fmt.Println("layers:", len(config.RootFS.DiffIDs), "history:", len(config.History))
	files := mutate.Extract(image)
	defer files.Close()
	for archive := tar.NewReader(files); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		fmt.Printf("%s %s %d\n", os.FileMode(header.Mode), strings.Trim(header.Name, "/"), header.Size)
	}
}
