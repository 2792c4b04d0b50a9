// Devvault is a real Vault core in one program: what `vault server -dev` is,
// for tests and trials of upstream_auth, on machines where no vault binary is
// to be had. It differs from the original in one point that the tests need:
// with -data-dir the data is on disk, and a restart, be it after a kill in the
// middle of a write, comes back unsealed, with the same root token.
//
// Usage:
//
//	devvault [server] [-dev] [-dev-listen-address=127.0.0.1:8200] [-dev-root-token-id=ID]
//	         [-dev-tls [-dev-tls-cert-dir=DIR]] [-data-dir=DIR] [-log-level=warn]
//
// The words "server -dev" are accepted and mean nothing, so that one command
// line serves this program and the vault binary.
//
// Once it accepts requests it prints, each on a line of its own, `Api Address:
// URL`, `Unseal Key: KEY` and `Root Token: TOKEN`, the token last. It has KV
// version 2 at secret/; KV version 1, and the logins approle, jwt, kubernetes
// and userpass, can be mounted over the API. SIGINT and SIGTERM end it.
//
// The keys lie in the open, on the terminal and in DIR: nothing that matters
// belongs in here. Vault is under the Business Source License; this program is
// a module of its own, for tests and trials, and is never linked into the
// product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/hashicorp/go-hclog"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	opts, err := parseOptions(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		os.Exit(2) // the flag package has said why
	}
	if err := run(ctx, opts, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "devvault:", err)
		os.Exit(1)
	}
}

// run serves until ctx is done. It binds the address before it touches any
// data, so that a second instance on a taken port fails without a trace.
func run(ctx context.Context, opts options, stdout, stderr io.Writer) (err error) {
	l, err := listen(opts)
	if err != nil {
		return err
	}
	defer l.Close()

	st, err := openStorage(opts.dataDir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()

	logger := hclog.New(&hclog.LoggerOptions{Level: opts.logLevel, Output: stderr})
	core, err := newCore(st, l.url, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, core.Shutdown()) }()

	// A start is short: a signal meanwhile is obeyed after it.
	k, err := bootstrap(context.WithoutCancel(ctx), core, st, opts.rootToken)
	if err != nil {
		return err
	}

	srv := newHTTPServer(core, l, logger)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	announce(stdout, l, st.kind, k)

	select {
	case err := <-served:
		return fmt.Errorf("serving %s: %w", l.url, err)
	case <-ctx.Done():
	}
	return stopServer(srv)
}

// stopServer lets requests under way finish, but not for ever.
func stopServer(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return srv.Close()
	}
	return nil
}
