import React, { useState } from 'react';

interface Props {
  title: string;
  onClose?: () => void;
}

type State = { open: boolean };

// A dialog.
export const Dialog: React.FC<Props> = ({ title, onClose }) => {
  const [open, setOpen] = useState(true);
  const close = () => setOpen(false);
  return <div onClick={close}>{title}</div>;
};

/** A panel. */
export class Panel extends React.Component<Props, State> {
  state: State = { open: true };

  toggle = () => this.setState({ open: false });

  render() {
    return <section>{this.props.title}</section>;
  }
}

export default function App(): JSX.Element {
  return <Dialog title="x" />;
}

const Styled = styled.div`color: red`;
const Memo = React.memo(function Inner(props: Props) { return <p />; });
