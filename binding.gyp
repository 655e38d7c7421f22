{
  # Only for tools that look for a binding.gyp: CMakeLists.txt is the one list of sources, and this target calls it.
  # The published package leaves this file out, so that installing it runs no build.
  "targets": [
    {
      "target_name": "star",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["build/star.node"],
          "action": ["npm", "run", "build:native"]
        }
      ]
    }
  ]
}
