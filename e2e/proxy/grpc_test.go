package proxy

import (
	"context"
	"net"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/upstreamauth/caddy-upstream-auth/e2e/world"
)

// newGRPC is a gRPC server that wants the token of w, and the address of it.
func newGRPC(w *world.World) (address string) {
	w.Helper()
	current := func(ctx context.Context) error {
		fields, _ := metadata.FromIncomingContext(ctx)
		token, _ := strings.CutPrefix(strings.Join(fields["authorization"], ""), "Bearer ")
		if _, ok := w.Auth.Subject(token); !ok {
			return status.Error(codes.Unauthenticated, "the token is not valid")
		}
		return nil
	}
	server := grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := current(ctx); err != nil {
				return nil, err
			}
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			if err := current(stream.Context()); err != nil {
				return err
			}
			return next(srv, stream)
		}),
	)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	w.Check(err)
	done := make(chan error)
	go func() { done <- server.Serve(listener) }()
	w.Cleanup(func() {
		server.Stop()
		<-done
	})
	return listener.Addr().String()
}

// A call that the server refuses as UNAUTHENTICATED, which is a response of status 200, is
// made once more with new tokens.
func TestRefusedCallsOfGRPCAreReplayed(t *testing.T) {
	w := world.New(t)
	w.Start(world.Configuration{Sites: []world.Site{{
		Upstream: newGRPC(w), Handler: "refresh_on grpc\ntransport http {\nversions h2c\n}",
	}}})
	conn, err := grpc.NewClient("passthrough:///"+w.Caddy.Address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithAuthority("app"))
	w.Check(err)
	defer conn.Close()
	client := grpc_health_v1.NewHealthClient(conn)
	for tenant, call := range map[string]func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error){
		"unary": func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			return client.Check(ctx, new(grpc_health_v1.HealthCheckRequest))
		},
		"streaming": func(ctx context.Context) (*grpc_health_v1.HealthCheckResponse, error) {
			stream, err := client.Watch(ctx, new(grpc_health_v1.HealthCheckRequest))
			if err != nil {
				return nil, err
			}
			return stream.Recv()
		},
	} {
		w.SeedExpired(tenant)
		ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(w.Ctx, "x-tenant-id", tenant))
		res, err := call(ctx)
		cancel()
		if err != nil || res.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			t.Errorf("%s: %v %v", tenant, res, err)
		}
		if n := len(w.Auth.Of(tenant)); n != 1 {
			t.Errorf("%s: %d refreshes", tenant, n)
		}
	}
}
