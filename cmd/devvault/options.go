package main

import (
	"flag"
	"fmt"
	"io"

	"github.com/hashicorp/go-hclog"
)

// options are the command line. Their flags are named as those of
// `vault server -dev` wherever that has them.
type options struct {
	address   string
	rootToken string // empty: Vault generates one
	dataDir   string // empty: in memory
	tls       bool
	certDir   string // empty: a temporary one
	logLevel  hclog.Level
}

// parseOptions reads args, and writes complaints and help to stderr.
func parseOptions(args []string, stderr io.Writer) (options, error) {
	if len(args) > 0 && args[0] == "server" {
		args = args[1:]
	}

	opts := options{logLevel: hclog.Warn}
	fs := flag.NewFlagSet("devvault", flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.Bool("dev", true, "accepted as vault does; it is always on")
	fs.Bool("dev-no-store-token", true, "accepted as vault does; the token is never stored for the vault client")
	fs.StringVar(&opts.address, "dev-listen-address", "127.0.0.1:8200", "`address` to bind to; with port 0, any free port")
	fs.StringVar(&opts.rootToken, "dev-root-token-id", "", "initial root `token` (default: generated)")
	fs.StringVar(&opts.dataDir, "data-dir", "", "`directory` for the data, the unseal key and the root token (default: all in memory)")
	fs.BoolVar(&opts.tls, "dev-tls", false, "serve HTTPS, with a certificate of a CA made for it")
	fs.StringVar(&opts.certDir, "dev-tls-cert-dir", "", "`directory` for vault-ca.pem, vault-cert.pem and vault-key.pem (default: a temporary one)")
	fs.Func("log-level", "least `level` that is logged to stderr: trace, debug, info, warn, error (default warn)", func(s string) error {
		if opts.logLevel = hclog.LevelFromString(s); opts.logLevel == hclog.NoLevel {
			return fmt.Errorf("unknown level %q", s)
		}
		return nil
	})
	if err := fs.Parse(args); err != nil {
		return options{}, err
	}
	if fs.NArg() > 0 {
		err := fmt.Errorf("unexpected argument %q", fs.Arg(0))
		fmt.Fprintln(stderr, err)
		return options{}, err
	}
	return opts, nil
}
