package main

import (
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/proto"
)

// withoutChance makes a definition again without what BuildKit's library draws at random: the id that keeps local sources of
// builds without a session apart. What follows from digests is made anew.
func withoutChance(definition *pb.Definition) (*pb.Definition, error) {
	if definition == nil {
		return nil, nil
	}
	made := &pb.Definition{Metadata: map[string]*pb.OpMetadata{}}
	renamed := map[string]string{}
	for _, data := range definition.Def {
		var op pb.Op
		if err := op.UnmarshalVT(data); err != nil {
			return nil, err
		}
		for _, input := range op.Inputs {
			input.Digest = renamed[input.Digest]
		}
		before := string(digest.FromBytes(data))
		metadata := definition.Metadata[before].CloneVT()
		if source := op.GetSource(); source != nil {
			delete(source.Attrs, pb.AttrLocalUniqueID)
			if metadata != nil {
				delete(metadata.Caps, string(pb.CapSourceLocalUnique))
			}
		}
		data, err := proto.MarshalOptions{Deterministic: true}.Marshal(&op)
		if err != nil {
			return nil, err
		}
		after := string(digest.FromBytes(data))
		renamed[before] = after
		made.Def = append(made.Def, data)
		if metadata != nil {
			made.Metadata[after] = metadata
		}
	}
	return made, rename(made, definition.Source, renamed)
}

// rename takes the places over, under the new digests.
func rename(made *pb.Definition, source *pb.Source, renamed map[string]string) error {
	if source == nil {
		return nil
	}
	made.Source = &pb.Source{Locations: map[string]*pb.Locations{}}
	for _, info := range source.Infos {
		info := info.CloneVT()
		var err error
		if info.Definition, err = withoutChance(info.Definition); err != nil {
			return err
		}
		made.Source.Infos = append(made.Source.Infos, info)
	}
	for before, places := range source.Locations {
		made.Source.Locations[renamed[before]] = places
	}
	return nil
}
