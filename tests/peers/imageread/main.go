// imageread reads images from disk with go-containerregistry, which crane, ko and others are made of, checks every digest, size and
// media type in them, and prints what they are.
//
//	imageread docker FILE    a tar as `docker load` takes it
//	imageread oci DIRECTORY  an OCI layout
//	imageread estargz DIRECTORY  an OCI layout with layers of which each file can be had without the others
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
		log.Fatal("usage: imageread docker|oci|estargz PATH")
	}
	read := map[string]func(string) error{"docker": readDocker, "oci": readLayout, "estargz": readStargz}[os.Args[1]]
	if read == nil {
		log.Fatalf("imageread: %q is neither docker nor oci nor estargz", os.Args[1])
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
	return showIndex(index)
}

func showIndex(index v1.ImageIndex) error {
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	for _, descriptor := range manifest.Manifests {
		if kind := descriptor.Annotations["vnd.docker.reference.type"]; kind != "" {
			fmt.Println("beside it:", kind)
			continue
		}
		err = errors.New("neither an image nor an index")
		if descriptor.MediaType.IsIndex() {
			var inner v1.ImageIndex
			if inner, err = index.ImageIndex(descriptor.Digest); err == nil {
				err = showIndex(inner)
			}
		} else if descriptor.MediaType.IsImage() {
			var image v1.Image
			if image, err = index.Image(descriptor.Digest); err == nil {
				err = show(image)
			}
		}
		if err != nil {
			return fmt.Errorf("%s (%s): %w", descriptor.Digest, descriptor.MediaType, err)
		}
	}
	return nil
}

func show(image v1.Image) error {
	if err := check(image); err != nil {
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
		name := strings.Trim(header.Name, "/")
		if header.Linkname != "" {
			name += " -> " + header.Linkname
		}
		fmt.Printf("%c %o %s %d\n", header.Typeflag, header.Mode, name, header.Size)
	}
}

// check compares all digests and sizes with what is there. The library's own check knows layers in gzip alone.
func check(image v1.Image) error {
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	gzip := true
	for number, layer := range layers {
		kind, err := layer.MediaType()
		if err != nil {
			return err
		}
		gzip = gzip && strings.HasSuffix(string(kind), "gzip")
		if err := checkLayer(image, layer, number); err != nil {
			return fmt.Errorf("layer %d (%s): %w", number, kind, err)
		}
	}
	if !gzip {
		return nil
	}
	return validate.Image(image)
}

func checkLayer(image v1.Image, layer v1.Layer, number int) error {
	manifest, err := image.Manifest()
	if err != nil {
		return err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return err
	}
	compressed, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer compressed.Close()
	digest, size, err := v1.SHA256(compressed)
	if err != nil {
		return err
	}
	if wanted := manifest.Layers[number]; digest != wanted.Digest || size != wanted.Size {
		return fmt.Errorf("%s of %d bytes instead of %s of %d", digest, size, wanted.Digest, wanted.Size)
	}
	contents, err := layer.Uncompressed()
	if err != nil {
		return err
	}
	defer contents.Close()
	digest, _, err = v1.SHA256(contents)
	if err == nil && digest != config.RootFS.DiffIDs[number] {
		err = fmt.Errorf("%s instead of %s when unpacked", digest, config.RootFS.DiffIDs[number])
	}
	return err
}
