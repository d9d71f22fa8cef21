// Command linkerd-destination is Linkerd's own destination service, and one who asks it what a proxy asks.
//
//	linkerd-destination serve FLAGS...            the service, with Linkerd's flags
//	linkerd-destination watch ADDRESS AUTHORITY   a line of JSON for each profile that a proxy would be given:
//	                                              weights by authority
//
// Of the line 2.10, the last whose destination service reads TrafficSplits by itself; later ones leave that to an
// extension, whose module cannot be had.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"

	pb "github.com/linkerd/linkerd2-proxy-api/go/destination"
	"github.com/linkerd/linkerd2/controller/cmd/destination"
	"google.golang.org/grpc"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) > 0 && args[0] == "serve":
		destination.Main(args[1:])
		return nil
	case len(args) == 3 && args[0] == "watch":
		return watch(args[1], args[2])
	default:
		return fmt.Errorf("usage: linkerd-destination serve FLAGS... | watch ADDRESS AUTHORITY")
	}
}

func watch(address, authority string) error {
	connection, err := grpc.Dial(address, grpc.WithInsecure())
	if err != nil {
		return err
	}
	defer connection.Close()
	asked := &pb.GetDestination{Scheme: "k8s", Path: authority}
	profiles, err := pb.NewDestinationClient(connection).GetProfile(context.Background(), asked)
	if err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	for {
		profile, err := profiles.Recv()
		if err != nil {
			return err
		}
		weights := map[string]uint32{}
		for _, destination := range profile.GetDstOverrides() {
			weights[destination.GetAuthority()] = destination.GetWeight()
		}
		if err := out.Encode(weights); err != nil {
			return err
		}
	}
}
