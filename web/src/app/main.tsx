import "@fontsource-variable/inter/wght.css";
import "../ui/tokens.css";
import "../ui/style.css";
import "../ui/charts.css";

import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { createRoot } from "react-dom/client";

import { ApiError } from "../api/client";
import { Live } from "../api/live";
import { followLive, LiveProvider } from "../api/queries";
import { PREFIX } from "../lib/prefix";
import { CommandProvider } from "../ui/commands";
import { router } from "./router";

const client = new QueryClient({
  defaultOptions: {
    queries: {
      // The live stream says when something changed; asking on every look would be noise.
      staleTime: Number.POSITIVE_INFINITY,
      refetchOnWindowFocus: false,
      retry: (count, error) => count < 2 && !(error instanceof ApiError && error.status >= 400 && error.status < 500),
      retryDelay: 400,
    },
  },
});
const live = new Live();
followLive(client, live);

// Whoever comes past the proxy, on the server's own machine, goes on below its prefix too.
if (!`${location.pathname}/`.startsWith(`${PREFIX}/`)) location.replace(PREFIX + location.pathname + location.search);

const root = document.getElementById("root");
if (root === null) throw new Error("index.html has no #root");
createRoot(root).render(
  <QueryClientProvider client={client}>
    <LiveProvider value={live}>
      <CommandProvider>
        <RouterProvider router={router} />
      </CommandProvider>
    </LiveProvider>
  </QueryClientProvider>,
);
