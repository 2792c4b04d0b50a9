// Package sdk runs the JavaScript SDKs that the credentials API has to serve: the real
// npm packages, in Node and in a browser.
//
// The scripts below examples are those of the SDK's documentation, "Connecting Your
// App API": credentials, fetch-credentials and self-patch, with the option apiUri
// added and with the reader's own values taken from the environment; self-get and
// workspace-token show the rest that the API serves. The constructor of a client sends
// the credentials it is given, and nobody can await that.
//
// [OIDCProvider] is npm's oidc-provider, an authorization server to refresh against.
// undici, an HTTP client with a cache, is for scripts of tests ([RunScript]).
//
// `make sdk` at the root of the repository installs the packages.
package sdk

import (
	"path/filepath"
	"runtime"
)

// Package is an npm package.
type Package struct {
	Name     string // as npm knows it
	Global   string // the client's class, and the global variable that the bundle for pages makes
	examples string // directory below examples
}

// The packages. Membrane is the successor of IntegrationApp.
var (
	IntegrationApp = Package{Name: "@integration-app/sdk", Global: "IntegrationAppClient", examples: "integration-app"}
	Membrane       = Package{Name: "@membranehq/sdk", Global: "MembraneClient", examples: "membrane"}
)

// Example is a script that a package comes with here.
type Example string

// The examples.
const (
	Credentials      Example = "credentials"       // the client is made with credentials
	FetchCredentials Example = "fetch-credentials" // the client gets them from the page's server
	SelfPatch        Example = "self-patch"        // credentials are replaced later
	SelfGet          Example = "self-get"          // prints, as JSON, what the API says of the user
	WorkspaceToken   Example = "workspace-token"   // SelfPatch and SelfGet with a token that Membrane makes; not for pages
)

// Env is what a script finds in process.env: API_URI; TOKEN, or for WorkspaceToken
// WORKSPACE_KEY, WORKSPACE_SECRET and TENANT_KEY; and USER_API_KEY, where credentials
// are sent: they are {"apiKey": USER_API_KEY}.
type Env map[string]string

// dir is where the packages are installed.
func dir() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// path is the file of an example, from dir.
func (p Package) path(e Example) string {
	return filepath.Join("examples", p.examples, string(e)+".mjs")
}
