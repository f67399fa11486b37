# Builds the app as its user, without network.
npm run check
npm run build
